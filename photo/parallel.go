package photo

import (
	"runtime"
	"sync"
)

// rows calls f on consecutive ranges that together are 0 to n, on several
// goroutines. A panic in f becomes one of the caller's goroutine, where it
// can be recovered.
func rows(n int, f func(y0, y1 int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		f(0, n)
		return
	}
	var (
		wg   sync.WaitGroup
		once sync.Once
		p    any
	)
	for i := range workers {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					once.Do(func() { p = r })
				}
			}()
			f(n*i/workers, n*(i+1)/workers)
		})
	}
	wg.Wait()
	if p != nil {
		panic(p)
	}
}
