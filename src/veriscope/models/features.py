"""Feature maps from any network: the last one, or the output of a named module with everything deeper cut off."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, fx, nn

from veriscope.errors import ModelError, nearest


class FeatureShape(NamedTuple):
    """Shape of one picture's feature map."""

    channels: int
    height: int
    width: int


class Backbone(Protocol):
    """What every feature network offers: timm's own method name, so that timm models fit as they are."""

    def forward_features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature map: BCHW, BHWC or tokens BNC."""
        ...


class FeatureExtractor(nn.Module):
    """Returns one BCHW map for each tap, in the order of `taps`; the tap None is the network's last map.

    Args:
        net: a `Backbone`.
        taps: module names inside `net`. What no tap needs is neither computed nor stored; names of what is left
            (state dict, modules) are the network's own.
        num_prefix_tokens: class and register tokens of a transformer, dropped before its tokens become a grid.
        channels_last: the network's 4-D outputs are BHWC.
        opaque_functions: functions that a tap's tracing must not look into, as they branch on shapes.

    Raises:
        ModelError: a tap that is no module of the network, or that can't be cut out.

    """

    def __init__(
        self,
        net: nn.Module,
        *,
        taps: tuple[str | None, ...] = (None,),
        num_prefix_tokens: int = 0,
        channels_last: bool = False,
        opaque_functions: tuple[Callable[..., Any], ...] = (),
    ) -> None:
        super().__init__()
        self.taps = taps
        self.num_prefix_tokens = num_prefix_tokens
        self.channels_last = channels_last
        self.traced = taps != (None,)
        self.net = cut_at_taps(net, taps, opaque_functions=opaque_functions) if self.traced else net
        self.unused_parameters: frozenset[str] = frozenset()

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the normalised images, each BCHW."""
        if self.traced:
            outputs = cast(tuple[Tensor, ...], self.net(image_BCHW))
        else:
            outputs = (cast(Backbone, self.net).forward_features(image_BCHW),)
        height, width = image_BCHW.shape[-2:]
        return tuple(self._as_map(output, aspect=height / width) for output in outputs)

    def _as_map(self, output: Tensor, *, aspect: float) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(f"the backbone returned {shape}; a feature map BCHW, BHWC or tokens BNC is needed.")
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if self.channels_last else output
        tokens_BNC = output[:, self.num_prefix_tokens :]
        batch, count, channels = tokens_BNC.shape
        rows = max(1, round((count * aspect) ** 0.5))
        if count % rows:
            raise ModelError(f"{count} tokens of the backbone don't form a grid; name another tap or backbone.")
        return tokens_BNC.transpose(1, 2).reshape(batch, channels, rows, count // rows)


def cut_at_taps(
    net: nn.Module, taps: tuple[str | None, ...], *, opaque_functions: tuple[Callable[..., Any], ...] = ()
) -> fx.GraphModule:
    """Return a module that computes the tapped outputs as a tuple and holds only what they need.

    Only the modules that contain a tap are traced; all others stay whole. So a network with data-dependent code
    inside its blocks can still be tapped between them, and `.train()` and `.eval()` keep their meaning
    (torchvision's create_feature_extractor traces everything and freezes functional dropout into the graph).

    Raises:
        ModelError: unknown tap (with the nearest names), a tap outside the forward path, or an untraceable network.

    """
    names = [name for name, _ in net.named_modules() if name]
    wanted = [tap for tap in taps if tap is not None]
    for tap in wanted:
        if tap not in names:
            near = nearest(tap, [name for name in names if name.count(".") <= tap.count(".")] or names)
            raise ModelError(f"model.head.tap '{tap}' is no module of the backbone. {near}")

    class TapTracer(fx.Tracer):  # local, so that a pickled GraphModule does not try to trace with it again
        traced_func_name = "forward_features"

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return not any(tap.startswith(module_qualified_name + ".") for tap in wanted)

    tracer = TapTracer(autowrap_functions=opaque_functions)
    tracer.traced_func_name = "forward_features"
    try:
        graph = tracer.trace(net)
    except (TypeError, RuntimeError, ValueError, AttributeError, fx.proxy.TraceError) as error:
        raise ModelError(f"model.head.tap '{wanted[0]}': this backbone can't be cut open there ({error}).") from error
    calls = {str(node.target): node for node in graph.nodes if node.op == "call_module"}  # the last call of each
    output = next(node for node in graph.nodes if node.op == "output")
    last = output.args[0]
    for tap in wanted:
        if tap not in calls:
            raise ModelError(f"model.head.tap '{tap}' is not called by the backbone's features. {nearest(tap, calls)}")
    graph.erase_node(output)
    graph.output(tuple(last if tap is None else calls[tap] for tap in taps))
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
    cut = fx.GraphModule(net, graph)
    if len(taps) > 1:
        # An in-place activation right behind a tap would overwrite the map that the head reads.
        for module in cut.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
    return cut


def feature_shapes(extractor: FeatureExtractor, *, size_px: int) -> tuple[FeatureShape, ...]:
    """Return the shapes of the maps at a size_px x size_px input, and cut away what the maps don't need.

    timm networks carry parts behind their features (MobileNetV3's conv_head). Parameters that no gradient
    reaches would break DDP and count as trained; modules made only of them are replaced by Identity, single ones
    go into `extractor.unused_parameters` and are frozen. Runs on the meta device (shapes only: milliseconds), or for
    real where the network's code doesn't allow that.

    Raises:
        ModelError: the network refuses this input size.

    """
    was_training = extractor.training
    extractor.eval()
    called: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: called.add(name))
        for name, module in extractor.named_modules()
    ]
    try:
        shapes, unused = _run_on("meta", extractor, size_px)
    except (RuntimeError, NotImplementedError, AssertionError, ValueError):
        try:
            shapes, unused = _run_on("cpu", extractor, size_px)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ModelError(
                f"the backbone can't take model.input.size_px={size_px}: {reason}. Choose another size."
            ) from error
    finally:
        for hook in hooks:
            hook.remove()
        extractor.train(was_training)
    _drop_modules(extractor, unused=unused, called=called)
    left = dict(extractor.named_parameters())
    extractor.unused_parameters = frozenset(unused & left.keys())
    for name in extractor.unused_parameters:
        left[name].requires_grad_(False)
    return shapes


def _run_on(device: str, extractor: FeatureExtractor, size_px: int) -> tuple[tuple[FeatureShape, ...], set[str]]:
    """Run one blank picture on stand-ins of the parameters; return the maps' shapes and the parameters that no gradient
    reaches. Works inside the caller's no_grad and inference_mode, too."""
    with torch.inference_mode(False), torch.enable_grad():
        parameters: dict[str, Tensor] = {
            name: (torch.empty_like(p, device=device) if device == "meta" else p.detach().clone()).requires_grad_()
            for name, p in extractor.named_parameters()
        }
        buffers = {
            name: torch.empty_like(b, device=device) if device == "meta" else b.clone()
            for name, b in extractor.named_buffers()
        }
        image_BCHW = torch.zeros(1, 3, size_px, size_px, device=device)
        maps = torch.func.functional_call(extractor, {**parameters, **buffers}, (image_BCHW,))
        total = torch.stack([feature_map.float().sum() for feature_map in maps]).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    unused = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    return tuple(FeatureShape(*feature_map.shape[1:]) for feature_map in maps), unused


def _drop_modules(extractor: nn.Module, *, unused: set[str], called: set[str]) -> None:
    """Replace the outermost modules that hold only unused parameters and were never called by Identity."""

    def visit(module: nn.Module, prefix: str) -> None:
        for child_name, child in list(module.named_children()):
            name = prefix + child_name
            inner = {f"{name}.{parameter}" for parameter, _ in child.named_parameters()}
            runs = any(other == name or other.startswith(name + ".") for other in called)
            if inner and inner <= unused and not runs:
                setattr(module, child_name, nn.Identity())
            else:
                visit(child, name + ".")

    visit(extractor, "")
