"""Where the operations of a graph would run on a GPU, by TensorFlow's kernel registry.

It needs no GPU: TensorFlow's own package lists its GPU kernels.
"""

import functools

from tensorflow.python.framework import kernels, op_def_registry

HOST, DEVICE = "host", "device"
# Operations that run a function, by the name of the attribute that holds it.
CALLS = {
    "PartitionedCall": "f",
    "StatefulPartitionedCall": "f",
    "While": "body",
    "StatelessWhile": "body",
}


@functools.cache
def _gpu_kernels(op):
    found = kernels.get_registered_kernels_for_op(op).kernel
    return [k for k in found if k.device_type in ("GPU", "DEFAULT")]


def gpu_kernel(node):
    """The GPU kernel of a node, None without one for its types."""

    def fits(constraint):
        value = node.attr[constraint.name]
        types = value.list.type or [value.type]
        return set(types) <= set(constraint.allowed_values.list.type)

    found = [k for k in _gpu_kernels(node.op) if all(map(fits, k.constraint))]
    return found[0] if found else None


def _names(node, arguments):
    """Name and number of each input or output; a list has several of one name."""
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        yield from ((argument.name, i) for i in range(count))


class Placement:
    """Places the operations of a concrete function and of all that it calls.

    `without_kernel`: those that only the host has. `copies`: 'producer → consumer' of
    each value that the device computes and the host needs. What XLA compiles is one
    operation of the device.
    """

    def __init__(self, function, host_variables):
        self.without_kernel, self.copies = [], []
        graph = function.graph.as_graph_def()
        self.functions = {f.signature.name: f for f in graph.library.function}
        host = {id(variable.handle) for variable in host_variables}
        kinds = {tensor.op.name: DEVICE for tensor in function.graph.inputs}
        for outer, inner in function.graph.captures:
            kinds[inner.op.name] = HOST if id(outer) in host else DEVICE
        self.place_all(graph.node, kinds)

    def place_all(self, nodes, kinds):
        """`kinds`: HOST or DEVICE by 'input', 'node:0' or 'node:output:0'."""
        for node in nodes:
            if node.op in CALLS and not self.is_compiled(node):
                self.call(node, kinds)
            elif node.op != "Placeholder":
                self.place(node, kinds)

    def called(self, node):
        return self.functions[node.attr[CALLS[node.op]].func.name]

    def is_compiled(self, node):
        return self.called(node).attr["_XlaMustCompile"].b

    def call(self, node, kinds):
        called = self.called(node)
        arguments = [argument.name for argument in called.signature.input_arg]
        given = [_kind(name, kinds) for name in _data(node)]
        inner = dict(zip(arguments, given, strict=True))
        self.place_all(called.node_def, inner)
        results = [
            _kind(called.ret[output.name], inner)
            for output in called.signature.output_arg
        ]
        self.set_outputs(node, results, kinds)

    def place(self, node, kinds):
        on_host, in_host_memory = "CPU" in node.device, set()
        inputs = _data(node)
        if node.op.endswith("VariableOp"):
            on_host = _kind(inputs[0], kinds) == HOST
            inputs = inputs[1:]  # But for the variable.
        elif not (node.op in CALLS or on_host):
            kernel = gpu_kernel(node)
            if kernel is None:
                on_host = True
                self.without_kernel.append(f"{node.op} {node.name}")
            else:
                in_host_memory = set(kernel.host_memory_arg)
        definition = op_def_registry.get(node.op)
        names = [name for name, _ in _names(node, definition.input_arg)]
        for given, name in zip(inputs, names[-len(inputs) :], strict=bool(inputs)):
            needs_host = on_host or name in in_host_memory
            if needs_host and _kind(given, kinds) == DEVICE:
                self.copies.append(f"{given} → {node.op} {node.name}")
        names = [name for name, _ in _names(node, definition.output_arg)]
        results = [
            HOST if on_host or name in in_host_memory else DEVICE for name in names
        ]
        self.set_outputs(node, results, kinds)

    def set_outputs(self, node, results, kinds):
        names = _names(node, op_def_registry.get(node.op).output_arg)
        for i, (kind, (name, k)) in enumerate(zip(results, names, strict=True)):
            kinds[f"{node.name}:{i}"] = kinds[f"{node.name}:{name}:{k}"] = kind


def _data(node):
    return [name for name in node.input if not name.startswith("^")]


def _kind(name, kinds):
    return kinds[name] if name in kinds else kinds[f"{name}:0"]
