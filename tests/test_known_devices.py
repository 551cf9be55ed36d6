from latency_jax.devices import Device
from latency_jax.known_devices import KNOWN


def test_each_has_a_name_of_its_own_and_plausible_numbers():
    assert len({device.name for device in KNOWN}) == len(KNOWN)
    for device in KNOWN:
        assert Device.from_json(device.to_json()) == device
        # Cores of 64 or 128 lanes, each with a fused multiply-add a cycle.
        lanes = device.flops_per_s / (2 * device.cores * device.hertz)
        assert min(abs(lanes / of - 1) for of in (64, 128)) < 0.04, device.name
        assert 5 < device.flops_per_s / device.bytes_per_s < 150
