from hostmesh_core import yaml_nodes
from hostmesh_core.yaml_nodes import Mapping, Scalar, Sequence, YamlProblem


def read(text: str) -> list[object]:
    return list(yaml_nodes.read(text))


def test_gives_nodes_with_lines_and_what_was_written() -> None:
    (node,) = read("a: 0x10\nb:\n  - x\n")
    assert isinstance(node, Mapping)
    assert node.entries["a"].node == Scalar(line=1, text="0x10", value=16)
    assert (node.entries["b"].line, node.entries["b"].node.line) == (2, 3)


def test_counts_what_a_node_stands_for() -> None:
    (node,) = read("[a, [b, c], {d: e}]")
    assert isinstance(node, Sequence)
    assert node.size == 7


def test_keys_are_texts_as_written() -> None:
    (node,) = read("8080: a\ntrue: b\n~: c\n")
    assert isinstance(node, Mapping)
    assert list(node.entries) == ["8080", "true", "~"]


def test_names_what_a_node_is() -> None:
    nodes = [
        node for node in read("[a]\n---\n{a: b}\n---\ntext\n") if not isinstance(node, YamlProblem)
    ]
    kinds = [
        yaml_nodes.kind(node) for node in nodes if isinstance(node, Scalar | Sequence | Mapping)
    ]
    assert kinds == ["a list", "a mapping", "'text'"]


def test_plain_values_are_new_at_each_call() -> None:
    (node,) = read("[a]")
    assert isinstance(node, Sequence)
    first = yaml_nodes.plain(node)
    assert first == yaml_nodes.plain(node)
    assert first is not yaml_nodes.plain(node)


def test_lines_go_on_over_documents_and_problems() -> None:
    found = read("a: 1\n---\nb: c: d\n---\ne: 1\n")
    lines = [item.line for item in found if isinstance(item, Mapping | YamlProblem)]
    assert lines == [1, 3, 5]
    assert isinstance(found[1], YamlProblem)
