//go:build !race

package supir

const raceEnabled = false
