"""The trained network in ONNX Runtime: on a CPU it takes half the time that PyTorch takes.

Everything that scores goes this way, the training clips that detectors and thresholds are fitted to as well as a
request to the endpoint, so that all see the same numbers. PyTorch is what trains, and what the tests compare with.
"""

import os
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from masd.arrays import Array
from masd.learning.network import ConvolutionalAutoEncoder

OPSET, IR_VERSION = 18, 9
"""Of the ONNX format: what every ONNX Runtime since 1.16 reads."""

INPUT, LATENT, EMBEDDING, RECONSTRUCTION, ERROR = "windows", "latent", "embedding", "reconstruction", "error"


class NetworkRuntime:
    """Inference of one network in float32, on as many threads as PyTorch has when it is made."""

    def __init__(self, network: ConvolutionalAutoEncoder) -> None:
        """``network`` is copied as it is now, and as in evaluation mode."""
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: it reports its use over the network otherwise
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # threads that spin while they wait would take the cores from the other workers of a server
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # an arena that the process has registered for all of its sessions, where it has; else each has its own
        options.add_session_config_entry("session.use_env_allocators", "1")
        self._session = onnxruntime.InferenceSession(_onnx(network), options, providers=["CPUExecutionProvider"])

    def __call__(self, windows: Array) -> tuple[Array, Array, Array]:
        """Standardised windows ``X`` ``[n, F, T]`` -> embeddings ``[n, d]`` of unit length, reconstruction errors
        ``||X - X_hat||_2`` ``[n]`` and latents ``[n, C, F', T']``.
        """
        z, errors, latents = self._session.run([EMBEDDING, ERROR, LATENT], {INPUT: windows[:, None]})
        return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12), errors, latents

    def reconstruct(self, windows: Array) -> Array:
        """``X`` ``[n, F, T]`` -> ``X_hat`` ``[n, F, T]``."""
        (reconstruction,) = self._session.run([RECONSTRUCTION], {INPUT: windows[:, None]})
        return np.asarray(reconstruction[:, 0])


def _onnx(network: ConvolutionalAutoEncoder) -> bytes:
    """The network as an ONNX model, batch normalisation folded into the convolutions."""
    from onnx import TensorProto, helper

    encoder: list[Any] = list(network.encoder)
    decoder: list[Any] = list(network.decoder)
    graph = _Graph()
    x = INPUT
    for number, (convolution, normalisation, _, _) in enumerate(encoder):
        fused = fuse_conv_bn_eval(convolution, normalisation)
        x = graph.add("Relu", [graph.convolution(fused, x, f"encoder.{number}")])
        x = graph.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    latent = graph.add("Identity", [x], LATENT)
    pooled = graph.add("Flatten", [graph.add("GlobalAveragePool", [latent])])
    projection = [graph.weight("projection.weight", network.projection.weight)]
    projection += [graph.weight("projection.bias", network.projection.bias)]
    graph.add("Gemm", [pooled, *projection], EMBEDDING, transB=1)
    x = latent
    for number, (convolution, normalisation, _) in enumerate(decoder[:-1]):
        fused = fuse_conv_bn_eval(convolution, normalisation, transpose=True)
        x = graph.add("Relu", [graph.convolution(fused, x, f"decoder.{number}")])
    x = graph.add("Identity", [graph.convolution(decoder[-1], x, "decoder.last")], RECONSTRUCTION)
    residual = graph.add("Flatten", [graph.add("Sub", [INPUT, x])])
    graph.add("ReduceL2", [residual, graph.weight("axes", torch.tensor([1]))], ERROR, keepdims=0)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "convolutional auto-encoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", 1, "F", "T"])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                for name in (EMBEDDING, ERROR, LATENT, RECONSTRUCTION)
            ],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    serialised: bytes = model.SerializeToString()
    return serialised


class _Graph:
    """Nodes and weights of an ONNX graph while it is built; values are known by name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str, tensor: torch.Tensor) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(tensor.detach().cpu().contiguous().numpy(), name))
        return name

    def convolution(self, layer: nn.Conv2d | nn.ConvTranspose2d, x: str, name: str) -> str:
        inputs = [x, self.weight(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            inputs.append(self.weight(f"{name}.bias", layer.bias))
        kind = "ConvTranspose" if isinstance(layer, nn.ConvTranspose2d) else "Conv"
        return self.add(kind, inputs, strides=list(layer.stride), pads=[int(size) for size in layer.padding] * 2)
