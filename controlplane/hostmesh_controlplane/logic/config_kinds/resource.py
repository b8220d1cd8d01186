"""What all kinds share: apiVersion, kind, metadata, and plain sentences for what is wrong.

The models are pydantic, strict, and refuse unknown keys; the sentence names file, line and object,
and the key that was likely meant. Spec: Istio's networking API, as YAML.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from hostmesh_core.documents import Document, Path, Problem, did_you_mean, suggest
from hostmesh_core.ids import is_dns_label
from hostmesh_core.yaml_nodes import Mapping

NETWORKING = tuple(f"networking.istio.io/{version}" for version in ("v1", "v1beta1", "v1alpha3"))
ANNOTATION_PREFIX = "hostmesh.io/"
DEFAULT_NAMESPACE = "default"

S = TypeVar("S", bound=BaseModel)


class Strict(BaseModel):
    """The base of every model: nothing is converted, nothing unknown passes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Metadata(Strict):
    """`metadata`, with the keys that a Kubernetes API server adds; those are not read."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creationTimestamp: str | None = None  # noqa: N815 (Kubernetes' own key)
    generation: int | None = None
    resourceVersion: str | None = None  # noqa: N815
    uid: str | None = None
    managedFields: list[Any] | None = None  # noqa: N815


class Envelope(Strict):
    """A document around its spec. `status` is a Kubernetes API server's, and not read."""

    apiVersion: str  # noqa: N815 (Kubernetes' own key)
    kind: str
    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """What makes a document the same object after an edit."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Give `Kind namespace/name`."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Unusable(Exception):
    """A document that cannot be used: what is wrong, and whose it is as far as that can be read."""

    def __init__(self, problems: Iterable[Problem], name: ObjectName | None) -> None:
        self.problems = tuple(problems)
        self.name = name
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Resource:
    """A document whose envelope is right."""

    document: Document
    envelope: Envelope

    @property
    def name(self) -> ObjectName:
        """Which object it is."""
        metadata = self.envelope.metadata
        return ObjectName(self.envelope.kind, metadata.namespace, metadata.name)

    @property
    def origin(self) -> str:
        """Where it is written: `file:line`."""
        return self.document.where()

    def problem(self, path: Path, message: str) -> Problem:
        """Name something wrong at `path`, with the object."""
        return self.document.problem(path, f"{self.name}: {message}")

    def spec(self, model: type[S]) -> S:
        """Read the spec. Raises Unusable."""
        try:
            return model.model_validate(self.envelope.spec)
        except ValidationError as error:
            found = [
                self.problem(path, message)
                for path, message in _sentences(error, model, inside=("spec",))
            ]
            raise Unusable(found, self.name) from error


def read_resource(document: Document, *, kinds: Iterable[str], file_kind: str) -> Resource:
    """Read what is around the spec. `file_kind` says in messages what the file is for.

    Raises Unusable; its `name` is known where kind and metadata could be read.
    """
    name = _name(document)
    subject = f"{name}: " if name else ""
    try:
        envelope = Envelope.model_validate(document.plain())
    except ValidationError as error:
        found = [
            document.problem(path, subject + message)
            for path, message in _sentences(error, Envelope)
        ]
        raise Unusable(found, name) from error
    resource = Resource(document, envelope)
    problems = list(_envelope_problems(resource, sorted(kinds), file_kind))
    if problems:
        raise Unusable(problems, name)
    return resource


def _envelope_problems(resource: Resource, kinds: list[str], file_kind: str) -> Iterator[Problem]:
    envelope = resource.envelope
    if envelope.kind not in kinds:
        hint = did_you_mean(envelope.kind, kinds)
        message = f'kind "{envelope.kind}" is not read from {file_kind}{hint}'
        yield resource.problem(("kind",), message)
    elif envelope.apiVersion not in NETWORKING:
        hint = did_you_mean(envelope.apiVersion, NETWORKING)
        message = f'apiVersion "{envelope.apiVersion}" is unknown for {envelope.kind}{hint}'
        yield resource.problem(("apiVersion",), message)
    for key, value in (("name", envelope.metadata.name), ("namespace", resource.name.namespace)):
        labels = value.split(".") if key == "name" else [value]
        if not all(is_dns_label(label) for label in labels):
            message = f'metadata.{key} "{value}" is no DNS name in lower case'
            yield resource.problem(("metadata", key), message)


def annotations(resource: Resource, known: Iterable[str]) -> dict[str, str]:
    """Give our annotations without their prefix; others' are left alone. Raises Unusable."""
    given = resource.envelope.metadata.annotations
    ours = {
        key.removeprefix(ANNOTATION_PREFIX): value
        for key, value in given.items()
        if key.startswith(ANNOTATION_PREFIX)
    }
    full = [ANNOTATION_PREFIX + key for key in known]
    unknown = [key for key in ours if ANNOTATION_PREFIX + key not in full]
    if unknown:
        raise Unusable(
            (
                resource.problem(
                    ("metadata", "annotations", ANNOTATION_PREFIX + key),
                    f'unknown annotation "{ANNOTATION_PREFIX}{key}"'
                    + did_you_mean(ANNOTATION_PREFIX + key, full),
                )
                for key in unknown
            ),
            resource.name,
        )
    return ours


def _name(document: Document) -> ObjectName | None:
    """Tell which object a document is, as far as it can be read at all."""
    if not isinstance(document.node, Mapping):
        return None
    plain = document.plain()
    if not isinstance(plain, dict):
        return None
    kind, metadata = plain.get("kind"), plain.get("metadata")
    if not (isinstance(kind, str) and isinstance(metadata, dict)):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace", DEFAULT_NAMESPACE)
    if not (isinstance(name, str) and isinstance(namespace, str)):
        return None
    return ObjectName(kind, namespace, name)


def one_of(value: str, known: Iterable[str]) -> str:
    """Give the hint for a value of a fixed set that is written in capitals."""
    lower = {word.lower(): word for word in known}
    meant = suggest(value.lower(), lower)
    return f'; did you mean "{lower[meant]}"?' if meant else did_you_mean(value, lower.values())


def _sentences(
    error: ValidationError, model: type[BaseModel], *, inside: Path = ()
) -> Iterator[tuple[Path, str]]:
    for details in error.errors(include_url=False):
        path = tuple(step for step in details["loc"] if step != "[key]")
        yield (*inside, *path), _sentence(details, path, model, inside)


_EXPECTED = {
    "string_type": "a text; quote it",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "list_type": "a list",
}


def _sentence(details: ErrorDetails, path: Path, model: type[BaseModel], inside: Path) -> str:
    where = _dotted((*inside, *path))
    subject = f"{where}: " if where else ""  # the document itself has no name
    match details["type"]:
        case "extra_forbidden":
            parent = _dotted((*inside, *path[:-1]))
            place = f" in {parent}" if parent else ""
            hint = did_you_mean(str(path[-1]), _known(model, path[:-1]))
            return f'unknown key "{path[-1]}"{place}{hint}'
        case "missing":
            return f"{where} is missing"
        case "too_short":
            return f"{where} is empty; expected at least one"
        case "value_error":
            return f"{subject}{details['ctx']['error']}"
        case kind:
            expected = _EXPECTED.get(kind) or details.get("ctx", {}).get("expected", kind)
            return f"{subject}expected {expected}, not {_shown(details['input'])}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value[:40]}"'
        case _:
            return str(value)[:40]


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def _known(model: type[BaseModel], path: Path) -> list[str]:
    """Give the keys that the model at `path` knows."""
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        declared = current.model_fields.get(step)
        current = _model_in(declared.annotation) if declared else None
    return list(current.model_fields) if current else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := _model_in(part))), None)
