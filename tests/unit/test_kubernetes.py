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
# What docs/deploy.md tells platforms to give.
GRACE = 40


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
    lines = {name: line.replace("-$$@%h", "@%h") for name, line in PROCFILE.items()}

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


def test_the_next_release_is_another_job() -> None:
    (job,) = [manifest for manifest in MANIFESTS if manifest["kind"] == "Job"]
    images = {pod["containers"][0]["image"] for pod in pods().values()}

    assert len(images) == 1
    assert job["metadata"]["name"] == f"rita-release-{images.pop().partition(':')[2]}"
    assert job["spec"]["ttlSecondsAfterFinished"]


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_writes_to_its_tmp_alone_and_is_given_no_rights_and_no_variables_that_it_did_not_ask_for(
    name: str,
) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]

    assert not pod["automountServiceAccountToken"]
    # A Service named `flower` would set FLOWER_PORT to an address.
    assert not pod["enableServiceLinks"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108 - a container's
    assert container.get("resources") or name == "release"


def test_every_pod_is_under_the_policy_that_lets_nobody_in_and_each_component_of_another_one_is_there() -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in MANIFESTS if m["kind"] == "NetworkPolicy"}
    labels = [
        manifest["spec"]["template"]["metadata"]["labels"] for manifest in MANIFESTS if "template" in manifest["spec"]
    ]

    assert "ingress" not in policies["rita"]
    assert all(policies["rita"]["podSelector"]["matchLabels"].items() <= each.items() for each in labels)
    components = {each["app.kubernetes.io/component"] for each in labels}
    assert policies.keys() - {"rita"} <= components


def test_what_is_there_twice_is_not_all_taken_at_once_and_what_serves_or_consumes_says_when_it_does() -> None:
    bounded = {m["metadata"]["name"] for m in MANIFESTS if m["kind"] == "PodDisruptionBudget"}

    assert bounded == {"web", "worker", "webhook-worker"}
    for name in ("web", "worker", "webhook_worker"):
        assert pods()[name]["containers"][0].keys() >= {"readinessProbe", "livenessProbe"}, name
