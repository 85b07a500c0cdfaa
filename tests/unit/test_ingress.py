"""The Ingress of docs/deploy.md: valid for Kubernetes, and in front of the Service of docs/kubernetes."""

from __future__ import annotations

import kubernetes_validate
import yaml

from tests.project import PROJECT

INGRESS, CONTROLLER = yaml.safe_load_all((PROJECT / "docs/proxies/ingress.yaml").read_text())
SERVICES = [
    manifest
    for manifest in yaml.safe_load_all((PROJECT / "docs/kubernetes/rita.yaml").read_text())
    if manifest["kind"] == "Service"
]


def test_the_manifests_are_valid() -> None:
    for manifest in (INGRESS, CONTROLLER):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_it_leads_to_the_web_processes() -> None:
    (rule,) = INGRESS["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    wanted = path["backend"]["service"]

    ports = {service["metadata"]["name"]: [port["name"] for port in service["spec"]["ports"]] for service in SERVICES}
    assert wanted["port"]["name"] in ports[wanted["name"]]


def test_its_access_log_leaves_out_what_stands_behind_a_path() -> None:
    logged = CONTROLLER["data"]["log-format-upstream"]

    assert "$uri" in logged
    assert not any(name in logged for name in ("$request ", '$request"', "$request_uri", "$args", "$query_string"))
