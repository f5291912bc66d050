// Package supir restores photographs with SUPIR ("Scaling Up to Excellence", CVPR 2024).
package supir
