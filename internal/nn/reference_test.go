package nn

import "math"

// The operators written down naively in float64, as their definitions have
// them: what every device is compared with.

// An array holds values in C order: maps N×C×H×W, tokens N×T×C, vectors N×C.
type array struct {
	shape []int
	data  []float64
}

func zeros(shape ...int) array {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return array{shape: shape, data: make([]float64, n)}
}

// at is the element of that index.
func (a array) at(index ...int) *float64 {
	i := 0
	for d, x := range index {
		i = i*a.shape[d] + x
	}
	return &a.data[i]
}

func each(a array, f func(float64) float64) array {
	out := zeros(a.shape...)
	for i, v := range a.data {
		out.data[i] = f(v)
	}
	return out
}

func both(a, b array, f func(x, y float64) float64) array {
	out := zeros(a.shape...)
	for i := range a.data {
		out.data[i] = f(a.data[i], b.data[i%len(b.data)])
	}
	return out
}

func refLinear(x, w array, bias *array) array {
	out, in := w.shape[0], w.shape[1]
	shape := append(append([]int{}, x.shape[:len(x.shape)-1]...), out)
	y := zeros(shape...)
	for t := range len(x.data) / in {
		for o := range out {
			sum := 0.0
			if bias != nil {
				sum = bias.data[o]
			}
			for i := range in {
				sum += w.data[o*in+i] * x.data[t*in+i]
			}
			y.data[t*out+o] = sum
		}
	}
	return y
}

func refConv(x, w array, bias *array, stride int, pad Padding) array {
	n, c, h, wd := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	out, kh, kw := w.shape[0], w.shape[2], w.shape[3]
	y := zeros(n, out, (h+pad.Top+pad.Bottom-kh)/stride+1, (wd+pad.Left+pad.Right-kw)/stride+1)
	for b := range n {
		for o := range out {
			for oy := range y.shape[2] {
				for ox := range y.shape[3] {
					sum := 0.0
					if bias != nil {
						sum = bias.data[o]
					}
					for i := range c {
						for ky := range kh {
							for kx := range kw {
								iy, ix := oy*stride+ky-pad.Top, ox*stride+kx-pad.Left
								if 0 <= iy && iy < h && 0 <= ix && ix < wd {
									sum += *w.at(o, i, ky, kx) * *x.at(b, i, iy, ix)
								}
							}
						}
					}
					*y.at(b, o, oy, ox) = sum
				}
			}
		}
	}
	return y
}

// normalise takes groups of n values to mean 0 and variance 1.
func normalise(x array, n int, eps float64) array {
	y := zeros(x.shape...)
	for at := 0; at < len(x.data); at += n {
		mean, variance := 0.0, 0.0
		for _, v := range x.data[at : at+n] {
			mean += v / float64(n)
		}
		for _, v := range x.data[at : at+n] {
			variance += (v - mean) * (v - mean) / float64(n)
		}
		for i, v := range x.data[at : at+n] {
			y.data[at+i] = (v - mean) / math.Sqrt(variance+eps)
		}
	}
	return y
}

func refGroupNorm(x, w, b array, groups int, eps float64) array {
	c, pixels := x.shape[1], x.shape[2]*x.shape[3]
	y := normalise(x, c/groups*pixels, eps)
	for i := range y.data {
		channel := i / pixels % c
		y.data[i] = y.data[i]*w.data[channel] + b.data[channel]
	}
	return y
}

func refLayerNorm(x, w, b array, eps float64) array {
	c := x.shape[len(x.shape)-1]
	y := normalise(x, c, eps)
	for i := range y.data {
		y.data[i] = y.data[i]*w.data[i%c] + b.data[i%c]
	}
	return y
}

func refAttention(q, k, v array, heads int, causal bool) array {
	n, tq, c, tk := q.shape[0], q.shape[1], q.shape[2], k.shape[1]
	d := c / heads
	y := zeros(n, tq, c)
	for b := range n {
		kb := b % k.shape[0]
		for h := range heads {
			for t := range tq {
				scores, largest, total := make([]float64, tk), math.Inf(-1), 0.0
				for s := range tk {
					for i := h * d; i < (h+1)*d; i++ {
						scores[s] += *q.at(b, t, i) * *k.at(kb, s, i)
					}
					scores[s] /= math.Sqrt(float64(d))
					if causal && s > t {
						scores[s] = math.Inf(-1)
					}
					largest = max(largest, scores[s])
				}
				for s := range scores {
					scores[s] = math.Exp(scores[s] - largest)
					total += scores[s]
				}
				for s := range scores {
					for i := h * d; i < (h+1)*d; i++ {
						*y.at(b, t, i) += scores[s] / total * *v.at(kb, s, i)
					}
				}
			}
		}
	}
	return y
}

func refSiLU(x float64) float64      { return x / (1 + math.Exp(-x)) }
func refGELU(x float64) float64      { return x * (1 + math.Erf(x/math.Sqrt2)) / 2 }
func refQuickGELU(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) }

// concat puts y behind x along a dimension.
func concat(x, y array, dim int) array {
	shape := append([]int{}, x.shape...)
	shape[dim] += y.shape[dim]
	out := array{shape: shape}
	nx, ny := 1, 1
	for i := dim; i < len(shape); i++ {
		nx, ny = nx*x.shape[i], ny*y.shape[i]
	}
	for i := range len(x.data) / nx {
		out.data = append(append(out.data, x.data[i*nx:(i+1)*nx]...), y.data[i*ny:(i+1)*ny]...)
	}
	return out
}

// narrow keeps elements from…from+n-1 of the last dimension.
func narrow(x array, from, n int) array {
	c := x.shape[len(x.shape)-1]
	shape := append([]int{}, x.shape...)
	shape[len(shape)-1] = n
	out := array{shape: shape}
	for i := 0; i < len(x.data); i += c {
		out.data = append(out.data, x.data[i+from:i+from+n]...)
	}
	return out
}

// tokens turns a map N×C×H×W to tokens N×(H·W)×C; a second call's shape turns
// them back.
func refTokens(x array) array {
	n, c, t := x.shape[0], x.shape[1], x.shape[2]*x.shape[3]
	y := zeros(n, t, c)
	for b := range n {
		for i := range c {
			for j := range t {
				*y.at(b, j, i) = x.data[(b*c+i)*t+j]
			}
		}
	}
	return y
}

func refMap(x array, h, w int) array {
	n, c := x.shape[0], x.shape[2]
	y := zeros(n, c, h, w)
	for b := range n {
		for i := range c {
			for j := range h * w {
				y.data[(b*c+i)*h*w+j] = *x.at(b, j, i)
			}
		}
	}
	return y
}

func refUpsample2(x array) array {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	y := zeros(n, c, 2*h, 2*w)
	for b := range n {
		for i := range c {
			for oy := range 2 * h {
				for ox := range 2 * w {
					*y.at(b, i, oy, ox) = *x.at(b, i, oy/2, ox/2)
				}
			}
		}
	}
	return y
}

// refAddVector adds the vector of each of the batch, or the only one, per channel.
func refAddVector(x, v array) array {
	y := each(x, func(v float64) float64 { return v })
	for b := range x.shape[0] {
		for i := range x.shape[1] {
			for yy := range x.shape[2] {
				for xx := range x.shape[3] {
					*y.at(b, i, yy, xx) += *v.at(b%v.shape[0], i)
				}
			}
		}
	}
	return y
}

// refAffine scales and shifts per channel.
func refAffine(x, scale, shift array) array {
	y := each(x, func(v float64) float64 { return v })
	for b := range x.shape[0] {
		for i := range x.shape[1] {
			for yy := range x.shape[2] {
				for xx := range x.shape[3] {
					*y.at(b, i, yy, xx) *= *scale.at(b%scale.shape[0], i)
				}
			}
		}
	}
	return refAddVector(y, shift)
}

// refCrop leaves the edges away.
func refCrop(x array, edge Padding) array {
	y := zeros(x.shape[0], x.shape[1], x.shape[2]-edge.Top-edge.Bottom, x.shape[3]-edge.Left-edge.Right)
	for b := range y.shape[0] {
		for i := range y.shape[1] {
			for yy := range y.shape[2] {
				for xx := range y.shape[3] {
					*y.at(b, i, yy, xx) = *x.at(b, i, yy+edge.Top, xx+edge.Left)
				}
			}
		}
	}
	return y
}

// refRows picks rows of a table, in the order of ids, of which t make a batch.
func refRows(table array, ids []int32, t int) array {
	c := table.shape[1]
	y := array{shape: []int{len(ids) / t, t, c}}
	for _, id := range ids {
		y.data = append(y.data, table.data[int(id)*c:(int(id)+1)*c]...)
	}
	return y
}
