//go:build race

package supir

const raceEnabled = true
