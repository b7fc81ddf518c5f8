"""Decoding of requests and encoding of responses of the Open Inference Protocol.

`inference_protocol` describes the tensors.
"""

import base64
import math
import re
from collections.abc import Sequence
from threading import Event
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray
from starlette.responses import Response

from serving.errors import RequestError
from serving.model import Model, Row
from serving.predictor import until_given_up
from serving.requests import check_string_count
from serving.responses import JsonResponse

HEAD_LENGTH = "Inference-Header-Content-Length"
MAX_HEAD_BYTES = 1 << 14  # of the JSON without `data`, because parsed objects take many times as much memory
OutputName = Literal["label", "probability", "probabilities"]

OUTPUTS: dict[OutputName, str] = {"label": "BYTES", "probability": "FP32", "probabilities": "FP32"}

FormT = TypeVar("FormT")
Size = Annotated[int, Meta(ge=0, le=1 << 32)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Element = str | Annotated[list[str], Meta(min_length=1, max_length=1)]


class Parameters(Struct):
    """Parameters of the binary tensor data extension; others are ignored."""

    binary_data_size: Size | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class Input(Struct):
    name: str
    datatype: str
    shape: list[Size]
    parameters: Parameters | None = None
    data: Raw = Raw()


class Output(Struct):
    name: OutputName
    parameters: Parameters | None = None


class InferenceRequest(Struct):
    inputs: tuple[Input]
    outputs: list[Output] | None = None
    id: str | None = None
    parameters: Parameters | None = None


class InputData(Struct):
    data: Raw = Raw()


class RequestData(Struct):
    """The data of an `InferenceRequest`, to parse them without creating other objects."""

    inputs: tuple[InputData]


def split_body(body: bytes, head_length: str | None) -> tuple[memoryview, memoryview]:
    """Return the JSON head and the binary data that follow it, without copying. Raises RequestError."""
    length = str(len(body)) if head_length is None else head_length
    if not re.fullmatch("[0-9]{1,10}", length) or int(length) > len(body):
        raise invalid(f"{HEAD_LENGTH} must be a number of at most {len(body)}, the size of the body.")
    return memoryview(body)[: int(length)], memoryview(body)[int(length) :]


def decode(content: memoryview | bytes | Raw, form: type[FormT]) -> FormT:
    """Parse and validate JSON in one pass, to bound the memory of invalid JSON. Raises RequestError."""
    try:
        return msgspec.json.decode(content, type=form)
    except msgspec.ValidationError as error:
        raise invalid(f"The request does not follow the protocol: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, "invalid_json", f"The request is not valid JSON: {error}.") from error


def parse_head(head: memoryview) -> InferenceRequest:
    """Return the request with its data unparsed. Raises RequestError."""
    (found,) = decode(head, RequestData).inputs
    if len(head) - len(found.data) > MAX_HEAD_BYTES:
        message = f"The JSON without its data is larger than {MAX_HEAD_BYTES} bytes."
        raise RequestError(413, "body_too_large", message)
    wanted = decode(head, InferenceRequest)
    names = [output.name for output in wanted.outputs or ()]
    if len(names) != len(set(names)):
        raise invalid("An output is requested twice.")
    return wanted


def find_data(tensor: Input, binary: memoryview) -> memoryview | Raw:
    """Return the binary data, or the JSON data of the tensor. Raises RequestError."""
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if (size is None) != bool(tensor.data) or len(binary) != (size or 0):
        message = "Send the input's values as `data`, or after the JSON and their size as `binary_data_size`"
        raise invalid(f"{message}; {len(binary)} bytes follow the JSON.")
    return tensor.data if size is None else binary


def read_rows(model: Model, tensor: Input, data: memoryview | Raw, given_up: Event) -> Sequence[Row]:
    """Return the decoded examples. Raises RequestError, and ClientDisconnect once `given_up` is set."""
    form, (count, *shape) = (tensor.name, tensor.datatype), tensor.shape
    if form == (model.task, "BYTES") and shape in ([], [1]):
        elements = parse_elements(data, count) if isinstance(data, Raw) else split_elements(data, count)
        return [read_element(model, index, item) for index, item in until_given_up(given_up, enumerate(elements))]
    if form == (model.task, "UINT8") and shape == model.manifest["input"]["shape"][1:]:
        return cast(Sequence[Row], read_array(data, tensor.shape))  # NDArray is not annotated as a Sequence
    forms = "BYTES [N] or [N, 1]" + (f", or {prepared_form(model)}" if model.task == "image" else "")
    raise invalid(f"The input of this model is {model.task}: {forms}.")


def prepared_form(model: Model) -> str:
    return f"UINT8 [{', '.join(map(str, model.manifest['input']['shape']))}]"


def read_array(data: memoryview | Raw, shape: list[int]) -> NDArray[np.uint8]:
    """Return uint8 of `shape` from binary data, or from nested or flat JSON. Raises RequestError."""
    size = math.prod(shape)
    if isinstance(data, Raw):
        flat = bytes(data).translate(None, b"[]")
        check_size(1 + flat.count(b","), size)  # before parsing creates an object for each number
        data = memoryview(bytes(decode(b"[%b]" % flat, list[Byte])))
    check_size(len(data), size)
    return np.frombuffer(data, np.uint8).reshape(shape)


def parse_elements(data: Raw, count: int) -> Sequence[str | bytes]:
    """Return the strings of JSON data. Raises RequestError if there are not `count`."""
    check_string_count(data, count)
    elements = decode(data, list[Element])
    check_size(len(elements), count)
    return [element if isinstance(element, str) else element[0] for element in elements]


def split_elements(data: memoryview, count: int) -> Sequence[str | bytes]:
    """Return the elements of binary data, each preceded by its length in 4 bytes. Raises RequestError."""
    elements: list[bytes] = []
    start = end = 0
    while end < len(data) and len(elements) < count:
        start = end + 4
        end = start + int.from_bytes(data[end:start], "little")
        elements.append(bytes(data[start:end]))
    if end != len(data):
        raise invalid(f"The lengths of the elements do not add up to the {len(data)} bytes of binary data.")
    check_size(len(elements), count)
    return elements


def check_size(size: int, expected: int) -> None:
    if size != expected:
        raise invalid(f"The input has {size} elements, but its shape has {expected}.")


def read_element(model: Model, index: int, element: str | bytes) -> Row:
    """Return one decoded example. Raises RequestError with its index."""
    try:
        return model.read(as_item(model.task, element))
    except RequestError as error:
        raise RequestError(error.status, error.code, f"Element {index}: {error}") from error


def as_item(task: str, element: str | bytes) -> str | bytes:
    """Return the text, or the bytes of the image. Raises RequestError."""
    try:
        if task == "image":
            return base64.b64decode(element, validate=True) if isinstance(element, str) else element
        return element.decode() if isinstance(element, bytes) else element
    except ValueError as error:
        encoding = "base64" if task == "image" else "UTF-8"
        raise RequestError(400, f"invalid_{task}", f"The {task} is not valid {encoding}.") from error


def invalid(message: str) -> RequestError:
    return RequestError(400, "invalid_request", message)


def encode_response(model: Model, wanted: InferenceRequest, probabilities: NDArray[np.float32]) -> Response:
    """Return a response with the requested outputs, given the probabilities `[N, C]`."""
    labels = np.array(model.labels, dtype=object)[probabilities.argmax(axis=1)]
    tensors = {"label": labels, "probability": probabilities.max(axis=1), "probabilities": probabilities}
    parameters = wanted.parameters or Parameters()
    entries, contents = [], []
    for output in wanted.outputs or [Output(name) for name in OUTPUTS]:
        tensor = tensors[output.name]
        entry = {"name": output.name, "datatype": OUTPUTS[output.name], "shape": tensor.shape}
        if is_binary(output, parameters):
            contents.append(to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            entry["data"] = tensor.ravel().tolist()
        entries.append(entry)
    answer = {"model_name": model.task, "model_version": model.version.version, "outputs": entries}
    return join_parts(answer if wanted.id is None else {"id": wanted.id, **answer}, contents)


def is_binary(output: Output, parameters: Parameters) -> bool:
    own = output.parameters.binary_data if output.parameters else None
    return bool(parameters.binary_data_output if own is None else own)


def to_bytes(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype != object:
        return tensor.astype("<f4").tobytes()
    elements = [label.encode() for label in tensor]
    return b"".join(part for element in elements for part in (len(element).to_bytes(4, "little"), element))


def join_parts(answer: dict[str, Any], contents: list[bytes]) -> Response:
    """Return a JSON response, or JSON followed by the binary data if there are any."""
    if not contents:
        return JsonResponse(answer)
    head = msgspec.json.encode(answer)
    headers = {HEAD_LENGTH: str(len(head))}
    return Response(b"".join([head, *contents]), headers=headers, media_type="application/octet-stream")
