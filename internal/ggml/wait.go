package ggml

/*
#cgo linux LDFLAGS: -ldl
#ifdef __linux__
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

static void supir_nothing(void * data) { (void) data; }

static void * supir_crowd(void * parallel) {
	int (*procs)(void) = (int (*)(void)) dlsym(RTLD_DEFAULT, "omp_get_num_procs");
	if (procs) {
		((void (*)(void (*)(void *), void *, unsigned, unsigned)) parallel)(supir_nothing, NULL, (unsigned) procs() + 1, 0);
		for (;;) pause();
	}
	return NULL;
}

// Starts the threads that waitPassively tells of; without signals, which are Go's.
static void supir_wait_passively(void) {
	void * parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
	pthread_t thread;
	sigset_t all, was;
	if (!parallel) return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	if (pthread_create(&thread, NULL, supir_crowd, parallel) == 0) pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
}
#else
static void supir_wait_passively(void) {}
#endif
*/
import "C"

import "os"

// waitPassively makes ggml's threads sleep when they wait for one another, as they
// do after every node. GCC's OpenMP lets them spin for milliseconds otherwise:
// where another program runs on the same processors, the thread that is waited
// for may then not run at all, and everything takes many times as long. Sleeping
// costs next to nothing.
//
// OpenMP reads OMP_WAIT_POLICY before a program can set it. But its threads spin
// for a moment only where there are more of them than processors (GOMP_SPINCOUNT in
// libgomp's manual), so a team of that many is made here, which sleeps for ever.
// Whoever sets either variable has chosen.
func waitPassively() {
	for _, name := range []string{"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} {
		if _, set := os.LookupEnv(name); set {
			return
		}
	}
	C.supir_wait_passively()
}
