// Package memory tells what memory there is to plan with.
package memory

import (
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/shirou/gopsutil/v4/mem"
)

// Available is the memory in bytes that this process could still take without
// pushing others out: what the system has free or can free at once, within the
// limit of its control group. It is 0 where the system does not tell.
func Available() int64 {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	free := int64(min(v.Available, math.MaxInt64))
	if limit, err := memlimit.FromCgroup(); err == nil && limit > 0 && limit < math.MaxInt64 {
		free = min(free, int64(limit))
	}
	return free
}

// Total is the memory of the machine in bytes, 0 where the system does not tell.
func Total() int64 {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	return int64(min(v.Total, math.MaxInt64))
}
