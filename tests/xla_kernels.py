"""What of a graph XLA compiles."""


def kernels_of_xla(graph_def) -> list[str]:
    """Names of the functions that XLA must compile."""
    functions = graph_def.library.function
    return [f.signature.name for f in functions if f.attr["_XlaMustCompile"].b]
