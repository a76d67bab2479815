"""What several blocks of parameters have in common: kinds of fields, and their defaults."""

from typing import Annotated

from pydantic import Field

Uri = Annotated[str, Field(min_length=1, max_length=1024)]
Column = Annotated[str, Field(min_length=1, max_length=256)]
Subset = Annotated[
    str | None,
    Field(
        max_length=256,
        description="Subset (configuration) of a Hugging Face data set. Default: the only one, or the default one.",
    ),
]
Split = Annotated[
    str | None,
    Field(
        max_length=256,
        description="Split of a Hugging Face data set or of a directory that was saved with several. "
        "Default: train, or the only one.",
    ),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
EntryPoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=256)]
"""`module:function`."""

URL_SCHEMES = (
    *("hf", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "obs", "oci"),
    *("ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "webdav", "github"),
)
"""What a source's URL may begin with: stores on the network. Others, such as file, lead to what the container has."""
BOXED_SYSTEM_PROMPT = "Please reason step by step, and put your final answer within \\boxed{}."
PROMPT_PLACEHOLDER = "{prompt}"
MAX_ATTEMPTS = 10
UNAVAILABLE_TIMEOUT_SECONDS = 600
