"""Random numbers have the size that is asked for."""

from hostmesh_controlplane.edges.entropy import SystemEntropy


def test_numbers_differ_and_have_their_size() -> None:
    entropy = SystemEntropy()
    assert len({entropy.hex(128) for _ in range(100)}) == 100
    assert all(len(entropy.hex(bits)) == bits // 4 for bits in (64, 128, 256))
    serials = {entropy.serial() for _ in range(100)}
    assert len(serials) == 100
    assert all(0 < serial < 1 << 159 for serial in serials)
    jitters = [entropy.jitter() for _ in range(1000)]
    assert all(0 <= jitter <= 1 for jitter in jitters)
    assert min(jitters) < 0.1
    assert max(jitters) > 0.9
