"""The part of Triton's published `model_config.proto` (package `inference`) that is written here.

Names, numbers and types of fields, so that protobuf itself reads a `config.pbtxt`: it refuses names
that the schema does not have and values of another type.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

STRING, BOOL, INT32, INT64, UINT32, UINT64, ENUM, MESSAGE = 9, 8, 5, 3, 13, 4, 14, 11
MANY = "repeated"
TYPES = [
    "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16"
]
MESSAGES = {
    "ModelTensorReshape": [("shape", 1, INT64, MANY)],
    "ModelInput": [
        ("name", 1, STRING),
        ("data_type", 2, "DataType"),
        ("dims", 4, INT64, MANY),
        ("reshape", 5, "ModelTensorReshape"),
    ],
    "ModelOutput": [
        ("name", 1, STRING),
        ("data_type", 2, "DataType"),
        ("dims", 3, INT64, MANY),
        ("reshape", 5, "ModelTensorReshape"),
    ],
    "ModelDynamicBatching": [
        ("preferred_batch_size", 1, INT32, MANY),
        ("max_queue_delay_microseconds", 2, UINT64),
    ],
    "ModelParameter": [("string_value", 1, STRING)],
    "WarmupInput": [
        ("data_type", 1, "DataType"),
        ("dims", 2, INT64, MANY),
        ("zero_data", 3, BOOL),
    ],
    "ModelWarmup": [
        ("name", 1, STRING),
        ("batch_size", 2, UINT32),
        ("inputs", 3, {"value": "WarmupInput"}),
    ],
    "ModelConfig": [
        ("name", 1, STRING),
        ("backend", 17, STRING),
        ("max_batch_size", 4, INT32),
        ("input", 5, "ModelInput", MANY),
        ("output", 6, "ModelOutput", MANY),
        ("dynamic_batching", 11, "ModelDynamicBatching"),
        ("parameters", 14, {"value": "ModelParameter"}),
        ("model_warmup", 16, "ModelWarmup", MANY),
    ],
}


def read_config(text):
    """A `config.pbtxt` as a message; raises `text_format.ParseError`."""
    return text_format.Parse(text, _config_class()())


def _config_class():
    file = descriptor_pb2.FileDescriptorProto(
        name="model_config_part.proto", package="inference", syntax="proto3"
    )
    kinds = file.enum_type.add(name="DataType")
    for number, word in enumerate(TYPES[0].split()):
        kinds.value.add(name=f"TYPE_{word}", number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add(message, *field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def _add(message, name, number, kind, label=""):
    if isinstance(kind, dict):  # a map from text
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, STRING)
        _add(entry, "value", 2, kind["value"])
        kind, label = f"{message.name}.{entry.name}", MANY
    field = message.field.add(name=name, number=number, label=3 if label == MANY else 1)
    if isinstance(kind, int):
        field.type = kind
    else:
        field.type = ENUM if kind == "DataType" else MESSAGE
        field.type_name = f".inference.{kind}"
