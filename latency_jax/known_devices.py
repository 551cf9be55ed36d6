"""Descriptors of GPUs, from NVIDIA's public data sheets and architecture white papers.

Peak float32 FLOPs without tensor cores and memory bandwidth are those of the data sheets ("Tesla
P4", "Tesla P100", "V100", "T4", "A100", "A10", "L4", "H100", "H200"); multiprocessors, boost
clocks and L2 are those of the white papers of Pascal (WP-08019), Volta (WP-08608), Turing
(WP-09183), Ampere (GA100, 2020; GA102, 2021), Ada and Hopper. Names are those of `nvidia-smi`
and of JAX. Boards reach other clocks as their power and cooling allow.
"""

from latency_jax.devices import Device

_MIB, _GB = 2.0**20, 1e9
KNOWN = (
    Device("Tesla P4", 5.5e12, 192e9, 2 * _MIB, 20, 1.113e9, 8 * _GB),
    Device("Tesla P100-PCIE-16GB", 9.3e12, 732e9, 4 * _MIB, 56, 1.303e9, 16 * _GB),
    Device("Tesla V100-PCIE-32GB", 14.0e12, 900e9, 6 * _MIB, 80, 1.38e9, 32 * _GB),
    Device("Tesla V100-SXM2-16GB", 15.7e12, 900e9, 6 * _MIB, 80, 1.53e9, 16 * _GB),
    Device("Tesla T4", 8.1e12, 320e9, 4 * _MIB, 40, 1.59e9, 16 * _GB),
    Device("NVIDIA A100-PCIE-40GB", 19.5e12, 1555e9, 40 * _MIB, 108, 1.41e9, 40 * _GB),
    Device("NVIDIA A100 80GB PCIe", 19.5e12, 1935e9, 40 * _MIB, 108, 1.41e9, 80 * _GB),
    Device("NVIDIA A100-SXM4-40GB", 19.5e12, 1555e9, 40 * _MIB, 108, 1.41e9, 40 * _GB),
    Device("NVIDIA A100-SXM4-80GB", 19.5e12, 2039e9, 40 * _MIB, 108, 1.41e9, 80 * _GB),
    Device("NVIDIA A10", 31.2e12, 600e9, 6 * _MIB, 72, 1.695e9, 24 * _GB),
    Device("NVIDIA L4", 30.3e12, 300e9, 48 * _MIB, 58, 2.04e9, 24 * _GB),
    Device("NVIDIA H100 80GB HBM3", 67e12, 3350e9, 50 * _MIB, 132, 1.98e9, 80 * _GB),
    Device("NVIDIA H200", 67e12, 4800e9, 50 * _MIB, 132, 1.98e9, 141 * _GB),
)
