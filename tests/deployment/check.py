"""Checks the files in deploy/ that others read: against their schemas, and for what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import yaml

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
SECRETS = {"encryption-key", "database-url"}


def expect(holds: object, what: str) -> None:
    if not holds:
        raise SystemExit(what)


def check_compose() -> None:
    """The compose file."""
    path = DEPLOY / "compose.yml"
    schema = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    subprocess.run([Path(sys.executable).parent / schema[0], *schema[1:]], check=True)
    compose = yaml.safe_load(path.read_text())
    for role in ["api", "worker"]:
        service = compose["services"][role]
        expect(service["command"] == ["serve", "--role", role], f"{role}: {service['command']}")
        expect(service["deploy"]["replicas"] >= 2, f"{role}: one alone must not be missed")
        confined = service["read_only"] and service["cap_drop"] == ["ALL"]
        expect(confined and "no-new-privileges:true" in service["security_opt"], f"{role}: it is confined")
        expect(set(service["secrets"]) == SECRETS <= set(compose["secrets"]), f"{role}: its secrets are there")
        expect(set(service["networks"]) <= set(compose["networks"]), f"{role}: its networks are there")
        ports = service.get("ports", [])
        expect(all(re.fullmatch(r"127\.0\.0\.1:[\d-]+:8080", port) for port in ports), f"{role}: {ports}")
    expect(compose["networks"]["database"]["internal"], "the database is reached by the service alone")
    expect(compose["networks"]["publishers"]["internal"], "the internal listener is reached from inside alone")


def containers(workload: dict) -> Iterator[dict]:
    pod = workload["spec"]["template"]["spec"]
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def check_workload(workload: dict, options: str) -> None:
    """That a deployment is confined, and finds what it is told to read."""
    name, pod = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
    user = pod["securityContext"]
    expect(user["runAsNonRoot"] and user["runAsUser"] > 0 and user["seccompProfile"], f"{name}: who it runs as")
    expect(pod["automountServiceAccountToken"] is False, f"{name}: it has nothing to ask the cluster")
    expect(workload["spec"]["replicas"] >= 2, f"{name}: one alone must not be missed")
    mounted = {volume["name"]: volume for volume in pod["volumes"]}
    for container in containers(workload):
        context = container["securityContext"]
        confined = not context["allowPrivilegeEscalation"] and context["readOnlyRootFilesystem"]
        expect(confined and context["capabilities"] == {"drop": ["ALL"]}, f"{name}: {container['name']} is confined")
        expect(container["resources"]["limits"]["memory"], f"{name}: {container['name']} has an end")
        (mount,) = container["volumeMounts"]
        expect(mount["readOnly"] and mounted[mount["name"]]["secret"]["secretName"] == "k-webhooks", f"{name}: secrets")
        files = {f"{mount['mountPath']}/{secret}" for secret in SECRETS}
        expect(files == set(re.findall(r"_FILE: (\S+)", options)), f"{name}: the secrets are where they are looked for")
    (service,) = pod["containers"]
    ports = {port["name"] for port in service["ports"]}
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        expect(service[probe]["httpGet"]["port"] in ports, f"{name}: {probe}")
    expect(service["livenessProbe"]["httpGet"]["path"] == "/healthz", f"{name}: restarted for itself alone")
    expect(service["readinessProbe"]["httpGet"]["path"] == "/readyz", f"{name}: asked when it can answer")


def check_kubernetes() -> None:
    """The manifests."""
    folder = DEPLOY / "kubernetes"
    listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    expect(listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}, f"listed: {listed}")
    objects = [each for name in sorted(listed) for each in yaml.safe_load_all((folder / name).read_text())]
    for each in objects:
        kubernetes_validate.validate(each, "1.37", strict=True)

    def of(kind: str) -> list[dict]:
        return [each for each in objects if each["kind"] == kind]

    deployments = of("Deployment")
    expect(len(deployments) == 2, "the api and the worker")
    selectors = [each["spec"]["selector"] for each in of("PodDisruptionBudget")]
    policies = [each["spec"]["podSelector"] for each in of("NetworkPolicy")]
    for deployment in deployments:
        selector = deployment["spec"]["selector"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        expect(selector["matchLabels"] == labels, "it finds its own pods")
        expect(selector in selectors and selector in policies, "a disruption budget and a network policy for each")
        check_workload(deployment, (folder / "options.yaml").read_text())
    for service in of("Service"):
        expect(service["spec"].get("type", "ClusterIP") == "ClusterIP", "nothing is published past the ingress")
    for policy in of("NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            if {"port": "internal"} in rule["ports"]:
                expect(rule["from"], "the internal listener is for those who are named")
        expect(policy["spec"]["policyTypes"] == ["Ingress", "Egress"], "both ways")
    print(f"{len(objects)} objects for Kubernetes and the compose file are as they should be.")


check_compose()
check_kubernetes()
