// Package memory tells what memory there is to plan with.
package memory

import (
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/process"
)

// Available is the memory in bytes that this process could still take without
// pushing others out: what the system has free or can free at once, within what
// the limit of its control group leaves. It is 0 where the system does not tell.
func Available() int64 {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	free := int64(min(v.Available, math.MaxInt64))
	if limit, err := memlimit.FromCgroup(); err == nil && limit > 0 && limit < math.MaxInt64 {
		current, stat := cgroup(limit)
		free = min(free, max(1, int64(limit)-inUse(current, stat)))
	}
	return free
}

// cgroup is the texts of the control group's memory.current and memory.stat, of
// either version of the interface; empty if the group that has this limit is not
// the one at the root, where containers see theirs.
func cgroup(limit uint64) (current, stat string) {
	read := func(name string) string {
		text, _ := os.ReadFile("/sys/fs/cgroup/" + name)
		return strings.TrimSpace(string(text))
	}
	for _, names := range [][3]string{
		{"memory.max", "memory.current", "memory.stat"},
		{"memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"},
	} {
		if read(names[0]) == strconv.FormatUint(limit, 10) {
			return read(names[1]), read(names[2])
		}
	}
	return "", ""
}

// inUse is what a control group uses beyond pages of files that it can give back,
// from the texts of its memory.current and memory.stat; 0 without them.
func inUse(current, stat string) int64 {
	used, err := strconv.ParseInt(strings.TrimSpace(current), 10, 64)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(stat) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "inactive_file "); ok {
			if files, err := strconv.ParseInt(text, 10, 64); err == nil {
				used -= files
			}
		}
	}
	return max(0, used)
}

// DiskFree is the bytes free on the disk of a folder, 0 where the system does not
// tell.
func DiskFree(folder string) int64 {
	u, err := disk.Usage(folder)
	if err != nil {
		return 0
	}
	return int64(min(u.Free, math.MaxInt64))
}

// Total is the memory of the machine in bytes, 0 where the system does not tell.
func Total() int64 {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	return int64(min(v.Total, math.MaxInt64))
}

// Resident is the memory in bytes that this process holds, pages of files that it
// has read included; 0 where the system does not tell.
func Resident() int64 {
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0
	}
	info, err := p.MemoryInfo()
	if err != nil {
		return 0
	}
	return int64(min(info.RSS, math.MaxInt64))
}

// Peak is the most memory in bytes that this process has held at once, 0 where
// the system does not tell.
func Peak() int64 {
	status, _ := os.ReadFile("/proc/self/status") // Linux; elsewhere there is none
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
