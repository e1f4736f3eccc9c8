"""A server that answers as TensorFlow Serving does, for the tests: REST and gRPC.

The rules are those of its tensorflow_serving/util/json_tensor.cc: every number takes
the type that the signature gives it, and integers have no point.
"""

import contextlib
import http.server
import json
import threading

import numpy as np
import tensorflow as tf

NAME = "pixel_cnn_pp"


class Refused(ValueError):
    """What TensorFlow Serving answers with status 400."""


def to_tensor(name, value, spec):
    """A JSON value as a tensor of the signature's type."""
    kinds = float | int if spec.dtype.is_floating else int
    array = np.array(value, object)
    for number in array.ravel():
        if isinstance(number, bool) or not isinstance(number, kinds):
            raise Refused(f"JSON Value: {number} of {name} is not a {spec.dtype.name}")
    found = tf.constant(np.array(array.tolist(), spec.dtype.as_numpy_dtype))
    if not spec.shape.is_compatible_with(found.shape):
        raise Refused(f"{name}: shape {found.shape} for {spec.shape}")
    return found


def to_columns(body, names):
    """The named inputs of a request; rows become columns."""
    if ("inputs" in body) == ("instances" in body):
        raise Refused("one of 'inputs' and 'instances' is needed")
    if "inputs" in body:
        for name in names:
            if name not in body["inputs"]:
                raise Refused(f"Missing named input: {name} in 'inputs' object.")
        return {name: body["inputs"][name] for name in names}
    for row in body["instances"]:
        if set(row) != set(names):
            raise Refused(f"keys must be equal to: {','.join(sorted(names))}")
    return {name: [row[name] for row in body["instances"]] for name in names}


def answer(signatures, body):
    """The JSON object that a request, a JSON object, is answered with."""
    function = signatures[body.get("signature_name", "serving_default")]
    specs = function.structured_input_signature[1]
    columns = to_columns(body, specs)
    inputs = {name: to_tensor(name, columns[name], specs[name]) for name in specs}
    try:
        outputs = function(**inputs)
    except tf.errors.InvalidArgumentError as error:
        raise Refused(error.message) from error
    found = {name: output.numpy().tolist() for name, output in outputs.items()}
    if "inputs" in body:
        (only, *more) = found.values()
        return {"outputs": found if more else only}
    (only, *more) = found
    values = zip(*found.values(), strict=True)
    rows = [dict(zip(found, row, strict=True)) for row in values]
    return {"predictions": rows if more else [row[only] for row in rows]}


@contextlib.contextmanager
def rest(signatures):
    """host:port of a server that runs these signatures as the model NAME."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"]))
            status = 200
            try:
                if self.path != f"/v1/models/{NAME}:predict":
                    raise Refused(f"Malformed request: POST {self.path}")
                found = answer(signatures, json.loads(text))
            except Refused as error:
                status, found = 400, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def by_grpc(signatures):
    """host:port of a gRPC server that runs these signatures as the model NAME."""
    from concurrent import futures

    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != NAME:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            function = signatures[request.model_spec.signature_name]
            inputs = {n: tf.make_ndarray(t) for n, t in request.inputs.items()}
            found = predict_pb2.PredictResponse()
            for name, output in function(**inputs).items():
                found.outputs[name].CopyFrom(tf.make_tensor_proto(output))
            return found

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
