// Package weights reads the files that carry a model's parameters, of several
// formats and layouts, and fills the networks' structs from them.
//
// A [Set] is what one or several files hold together: named tensors and
// metadata. [Set.Fill] walks a struct whose fields are tagged with the names
// the tensors have in the files, and a [Report] gathers everything that does
// not fit, so that one error tells all of it:
//
//	set, err := weights.Open("sdxl.safetensors", "supir.safetensors")
//	defer set.Close()
//	var r weights.Report
//	var net UNet
//	set.Fill(&net, "unet", "model.diffusion_model", &r)
//	net.check(&r) // r.Want(net.ConvIn.Weight, -1, 4, 3, 3) ...
//	set.Unexpected(&r, "model.diffusion_model")
//	err = r.Err()
//
// Nothing in a file is believed: a header is checked as a whole before a
// tensor can be seen.
package weights
