"""The manifests of docs/kubernetes: valid for Kubernetes, and the same processes as the Procfile's."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from honcho.environ import parse_procfile

from app.config import Settings
from tests.project import PROJECT

MANIFESTS = list(yaml.safe_load_all((PROJECT / "docs/kubernetes/rita.yaml").read_text()))
PROCFILE = parse_procfile((PROJECT / "Procfile").read_text()).processes
NEWEST = kubernetes_validate.latest_version()
# What the README tells platforms to give.
GRACE = 40
# Not run there: it shows every task, and is for one person at a time.
NOT_RUN = {"flower"}


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods() -> dict[str, dict[str, Any]]:
    """Return what each container of the manifests is, with the pod that it is in."""
    found = [manifest["spec"]["template"]["spec"] for manifest in MANIFESTS if "template" in manifest["spec"]]
    return {pod["containers"][0]["name"].replace("-", "_"): pod for pod in found}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
def test_kubernetes_takes_it(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_validator_refuses_what_kubernetes_would() -> None:
    misspelt = MANIFESTS[0] | {"spec": MANIFESTS[0]["spec"] | {"backOffLimit": 3}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, NEWEST, strict=True)


def test_every_line_of_the_procfile_runs_as_it_stands_there() -> None:
    # Kubernetes makes one dollar sign of two; a pod's host has a name of its own anyway.
    lines = {name: line.replace("-$$@%h", "@%h") for name, line in PROCFILE.items() if name not in NOT_RUN}

    assert {name: pod["containers"][0]["command"][-1] for name, pod in pods().items()} == lines


def test_what_is_set_is_a_setting_and_what_is_asked_to_stop_has_the_time_that_it_needs() -> None:
    for name, pod in pods().items():
        variables = {variable["name"].lower() for variable in pod["containers"][0].get("env", [])}
        assert variables <= set(Settings.model_fields), name
        assert name == "release" or pod["terminationGracePeriodSeconds"] > GRACE, name


def test_what_is_scaled_is_a_deployment_that_leaves_its_number_to_the_scaler() -> None:
    scaled = {m["spec"]["scaleTargetRef"]["name"] for m in MANIFESTS if m["kind"] == "HorizontalPodAutoscaler"}
    deployments = {m["metadata"]["name"]: m["spec"] for m in MANIFESTS if m["kind"] == "Deployment"}

    assert (
        scaled == {name for name, spec in deployments.items() if "replicas" not in spec} == {"worker", "webhook-worker"}
    )
