from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="packd-jax",
    version="0.1.0",
    description="The smallest model that still predicts, and the time any model will take",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["packd_jax*", "latency_jax*", "experiments*"]),
    install_requires=(HERE / "requirements.txt").read_text().split(),
    extras_require={
        "test": [
            "hypothesis>=6.100",
            "networkx>=3.2",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "optuna>=4",
            "ray[tune]>=2.40",
        ],
        "lint": ["mypy>=1.11", "ruff>=0.6"],
        "boosting": ["lightgbm>=4", "xgboost>=2"],
        "tensorboard": ["tensorboardX>=2.6"],
        "gpu": ["jax[cuda12]"],
        "ray": ["optuna>=4", "ray[tune]>=2.40"],
    },
)
