"""What the chart renders, and what it refuses. `check` calls this with the tools in place; an argument names another chart."""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from pydantic import ValidationError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "baton"
KUBERNETES = "1.35"
NAME_MAX = 63

HELM = os.environ["HELM"]

SUPPORT = ROOT / "examples/support"
SUPPORT_ARGS = [
    f"--set-file=orchestrations.support.manifest={SUPPORT / 'support.yaml'}",
    rf"--set-file=orchestrations.support.files.script\.yaml={SUPPORT / 'script.yaml'}",
]

# Fields of the ScaledObject that are newer than the model of KEDA 2.16.
NEWER_THAN_MODEL = {("spec", "fallback", "behavior")}


def helm(*args):
    return subprocess.run([HELM, *map(str, args)], capture_output=True, text=True)


@functools.cache
def binary():
    """The program that BATON_BINARY names, or this build's."""
    if named := os.environ.get("BATON_BINARY"):
        return Path(named)
    build = ["cargo", "build", "--quiet", "--locked", "--package", "baton", "--bin", "baton", "--message-format", "json"]
    messages = subprocess.run(build, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True).stdout
    executables = [message.get("executable") for message in map(json.loads, messages.splitlines())]
    return [executable for executable in executables if executable][-1]


@functools.cache
def baton(*args):
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True)


def arguments(values):
    """What makes a values file renderable."""
    has_own = "orchestrations" in (yaml.safe_load(values.read_text()) or {})
    return ["--values", values, *([] if has_own else SUPPORT_ARGS)]


class Rendered:
    """The objects of one rendering."""

    def __init__(self, text):
        self.objects = [found for found in yaml.safe_load_all(text) if found]

    def of(self, kind):
        return {found["metadata"]["name"]: found for found in self.objects if found["kind"] == kind}

    def pods(self):
        """Every pod there will be: its object's name, its metadata and its spec."""
        for found in self.objects:
            name = f"{found['kind']} {found['metadata']['name']}"
            if found["kind"] == "Pod":
                yield name, found["metadata"], found["spec"]
            elif "template" in found.get("spec", {}):
                yield name, found["spec"]["template"]["metadata"], found["spec"]["template"]["spec"]

    def workers(self):
        """The Deployments of workers, by orchestration and agent as their arguments say."""
        workers = {}
        for name, deployment in self.of("Deployment").items():
            args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
            if args[0] == "worker":
                workers[args[args.index("--orchestration") + 1], args[args.index("--agent") + 1]] = name
        return workers


def env(container):
    return {one["name"]: one.get("value") for one in container.get("env", [])}


# The rules. Each says what is wrong.


def follows_the_schemas(rendered):
    for found in rendered.objects:
        name = f"{found['kind']} {found['metadata']['name']}"
        if found["apiVersion"].startswith("keda.sh/"):
            yield from (f"{name}: {problem}" for problem in not_in_the_model(found))
            continue
        try:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name}: {error.message}"


def not_in_the_model(scaled):
    try:
        understood = keda.ScaledObject.model_validate(scaled).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValidationError as error:
        yield str(error)
        return

    def lost(given, kept, path=()):
        if isinstance(given, dict):
            for key, value in given.items():
                if key not in kept:
                    yield (*path, key)
                else:
                    yield from lost(value, kept[key], (*path, key))
        elif isinstance(given, list):
            for number, (value, other) in enumerate(zip(given, kept)):
                yield from lost(value, other, (*path, number))

    for path in lost(scaled, understood):
        if path not in NEWER_THAN_MODEL:
            yield f"KEDA knows no {'.'.join(map(str, path))}"


def names_are_unique_and_short(rendered):
    seen = set()
    for found in rendered.objects:
        key = found["kind"], found["metadata"]["name"]
        if key in seen:
            yield f"two objects are {key}"
        seen.add(key)
        if len(key[1]) > NAME_MAX:
            yield f"{key} has {len(key[1])} characters"


def pods_are_restricted(rendered):
    for name, _, pod in rendered.pods():
        security = pod.get("securityContext", {})
        expected = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
        if any(security.get(key) != value for key, value in expected.items()):
            yield f"{name}: its securityContext is {security}"
        for unset in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(unset):
                yield f"{name}: {unset}"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: it gets a ServiceAccount's token"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name}: Services put variables into its environment"
        for container in pod["containers"] + pod.get("initContainers", []):
            expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if container.get("securityContext") != expected:
                yield f"{name}: container {container['name']}: its securityContext is {container.get('securityContext')}"
    for name, account in rendered.of("ServiceAccount").items():
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {name}: it gives its token away"


def pods_are_probed_and_may_finish(rendered):
    for name, deployment in rendered.of("Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path or asked.get("port") not in ports:
                yield f"{name}: its {probe} asks {asked}"
        listens = env(container).get("BATON_HEALTH") or env(container).get("BATON_LISTEN") or ""
        if listens.rsplit(":", 1)[-1] not in {str(port) for port in ports.values()}:
            yield f"{name}: it listens at {listens!r}, its ports are {ports}"
        drain = int(env(container).get("BATON_DRAIN_SECS") or 0)
        if pod["terminationGracePeriodSeconds"] < drain + 10:
            yield f"{name}: it may drain for {drain} s, and is killed after {pod['terminationGracePeriodSeconds']} s"
        if container["args"][0] == "worker" and not drain:
            yield f"{name}: it says nothing of draining"


def the_image_is_the_same_everywhere(rendered):
    images = {container["image"] for _, _, pod in rendered.pods() for container in pod["containers"]}
    if len(images) != 1:
        yield f"the images are {sorted(images)}"


def selectors_select_their_own_pods_only(rendered):
    deployments = rendered.of("Deployment")
    labels = {name: deployment["spec"]["template"]["metadata"]["labels"] for name, deployment in deployments.items()}

    def selected(selector):
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    for name, deployment in deployments.items():
        if selected(deployment["spec"]["selector"]["matchLabels"]) != {name}:
            yield f"Deployment {name} selects {selected(deployment['spec']['selector']['matchLabels'])}"
        for constraint in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if selected(constraint["labelSelector"]["matchLabels"]) != {name}:
                yield f"Deployment {name} spreads {selected(constraint['labelSelector']['matchLabels'])}"
    for name, budget in rendered.of("PodDisruptionBudget").items():
        if selected(budget["spec"]["selector"]["matchLabels"]) != {name}:
            yield f"PodDisruptionBudget {name} selects {selected(budget['spec']['selector']['matchLabels'])}"
    for name, service in rendered.of("Service").items():
        if selected(service["spec"]["selector"]) != {name}:
            yield f"Service {name} selects {selected(service['spec']['selector'])}"
    for name, policy in rendered.of("NetworkPolicy").items():
        if not selected(policy["spec"]["podSelector"]["matchLabels"]):
            yield f"NetworkPolicy {name} selects no pod"
    if rendered.of("HorizontalPodAutoscaler"):
        yield "KEDA makes the HorizontalPodAutoscalers"


def scalers_scale_what_is_there(rendered):
    deployments, workers = rendered.of("Deployment"), rendered.workers()
    whose = {name: agent for agent, name in workers.items()}
    scaled = set()
    for name, scaler in rendered.of("ScaledObject").items():
        spec = scaler["spec"]
        target = spec["scaleTargetRef"]["name"]
        scaled.add(target)
        if target not in whose:
            yield f"ScaledObject {name} scales {target}, which serves no agent"
            continue
        orchestration, agent = whose[target]
        [trigger] = spec["triggers"]
        metadata = trigger["metadata"]
        if trigger["type"] != "nats-jetstream" or not metadata.get("natsServerMonitoringEndpoint") or not metadata.get("account"):
            yield f"ScaledObject {name} asks {trigger}"
        if (metadata["stream"], metadata["consumer"]) != (f"baton-{orchestration}", f"agent-{agent}"):
            yield f"ScaledObject {name} watches {metadata['stream']}/{metadata['consumer']} for {orchestration}/{agent}"
        if metadata["activationLagThreshold"] != "0" or int(metadata["lagThreshold"]) < 1:
            yield f"ScaledObject {name}: one waiting item does not wake a worker: {metadata}"
        if not 0 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] or spec["maxReplicaCount"] < 1:
            yield f"ScaledObject {name}: from {spec['minReplicaCount']} to {spec['maxReplicaCount']}"
        strings = {key: value for key, value in metadata.items() if not isinstance(value, str)}
        if strings:
            yield f"ScaledObject {name}: not texts: {strings}"
    for name, deployment in deployments.items():
        if ("replicas" in deployment["spec"]) == (name in scaled):
            yield f"Deployment {name}: a scaler and `replicas` fight, or it has neither"


def manifests_are_what_the_program_takes(rendered):
    """Lays a coordinator's volume out as the kubelet would, and lets `baton` read it."""
    maps = rendered.of("ConfigMap")
    [pod] = [pod for _, meta, pod in rendered.pods() if meta["labels"]["app.kubernetes.io/component"] == "coordinator"]
    [container] = pod["containers"]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "orchestrations"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "orchestrations"]
    served = set()
    with tempfile.TemporaryDirectory() as directory:
        for source in volume["projected"]["sources"]:
            for item in source["configMap"]["items"]:
                path = Path(directory, item["path"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(maps[source["configMap"]["name"]]["data"][item["key"]])
        for manifest in container["args"][container["args"].index("--manifest") + 1].split(","):
            path = Path(directory, Path(manifest).relative_to(mount["mountPath"]))
            validated = baton("validate", path)
            if validated.returncode:
                yield f"{manifest}: {validated.stderr or validated.stdout}"
                continue
            [orchestration] = re.findall(r"^(\S+) is valid;", validated.stdout, re.MULTILINE)
            agents = re.findall(r"^  ([a-z0-9-]+)[\[(]", baton("graph", path).stdout, re.MULTILINE)
            served |= {(orchestration, agent) for agent in agents}
    if set(rendered.workers()) != served:
        yield f"there are workers for {sorted(rendered.workers())}, and the program has {sorted(served)}"
    for name, _, pod in rendered.pods():
        for container in pod["containers"]:
            listed = env(container).get("BATON_ORCHESTRATION")
            if listed and set(listed.split(",")) != {orchestration for orchestration, _ in served}:
                yield f"{name} serves {listed}"


def credentials_are_where_they_are_named(rendered):
    for name, _, pod in rendered.pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            mounted = set()
            for mount in container.get("volumeMounts", []):
                items = volumes.get(mount["name"], {}).get("secret", {}).get("items", [])
                mounted |= {f"{mount['mountPath']}/{item['path']}" for item in items}
            named = {value for key, value in env(container).items() if key in FILES and value}
            if mounted != named:
                yield f"{name}: it is told of {sorted(named)}, and has {sorted(mounted)}"


def the_program_knows_its_arguments(rendered):
    for name, _, pod in rendered.pods():
        for container in pod["containers"]:
            program = container["args"][0]
            help = baton(*container["args"], "--help")
            if help.returncode:
                yield f"{name}: {help.stderr}"
                continue
            for variable in env(container):
                if variable.startswith("BATON_") and variable not in UNLISTED and variable not in help.stdout:
                    yield f"{name}: {program} does not read {variable}"


# Read, though no flag has it.
UNLISTED = {"BATON_NATS_SYNCED"}
FILES = {"NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY"}

RULES = [
    follows_the_schemas,
    names_are_unique_and_short,
    pods_are_restricted,
    pods_are_probed_and_may_finish,
    the_image_is_the_same_everywhere,
    selectors_select_their_own_pods_only,
    scalers_scale_what_is_there,
    manifests_are_what_the_program_takes,
    credentials_are_where_they_are_named,
    the_program_knows_its_arguments,
]


def texts_survive(values, rendered):
    """A manifest that is a text, and every file, arrives as it was given."""
    for name, given in (yaml.safe_load(values.read_text()) or {}).get("orchestrations", {}).items():
        [data] = [one["data"] for one in rendered.of("ConfigMap").values() if one["metadata"]["labels"]["baton/orchestration"] == name]
        texts = {path.replace("/", "__"): text for path, text in given.get("files", {}).items()}
        if isinstance(given["manifest"], str):
            texts["orchestration.yaml"] = given["manifest"]
        for key, text in texts.items():
            if data.get(key) != text:
                yield f"{key} of {name} is {data.get(key)!r}"


def check_case(values):
    args = arguments(values)
    linted = helm("lint", "--strict", CHART, *args)
    if linted.returncode:
        yield linted.stdout + linted.stderr
    rendered = helm("template", "release-name", CHART, "--namespace", "agents", *args)
    if rendered.returncode:
        yield rendered.stderr
        return
    if re.search(r"<no value>|%!|map\[", rendered.stdout):
        yield "a template printed a value that is none"
    rendered = Rendered(rendered.stdout)
    yield from texts_survive(values, rendered)
    for rule in RULES:
        for problem in rule(rendered):
            yield f"{rule.__name__}: {problem}"


def check_rollout():
    """What the coordinator reads again by itself changes nobody's pods; a worker's change with its concurrency."""

    def templates(*more):
        rendered = helm("template", "r", CHART, *arguments(CHART / "ci/several.yaml"), *more)
        return {name: one["spec"]["template"] for name, one in Rendered(rendered.stdout).of("Deployment").items()}

    before = templates()
    spec = "orchestrations.help-desk.manifest.spec.agents.HTTPSpecialist"
    for more, expected in (
        ([f"--set={spec}.instructions=Explain better."], set()),
        ([r"--set=orchestrations.help-desk.files.prompts/front-desk\.md=Be terse."], set()),
        ([f"--set={spec}.worker.concurrency=9"], {"r-baton-help-desk-http-specialist"}),
    ):
        after = templates(*more)
        changed = {name for name in before if before[name] != after[name]}
        if changed != expected:
            yield f"{more} replaces the pods of {sorted(changed)}"


def check_logins():
    """Whoever has credentials of its own uses them, and no others."""
    rendered = helm("template", "r", CHART, *arguments(CHART / "ci/everything.yaml"))
    used = {}
    for name, _, pod in Rendered(rendered.stdout).pods():
        secrets = {volume["secret"]["secretName"] for volume in pod.get("volumes", []) if volume["name"] == "nats"}
        for container in pod["containers"]:
            refs = [one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for one in container["env"]]
            used[name] = secrets | {ref for ref in refs if ref}
    expected = {
        "Deployment agents-coordinator": {"coordinator-login"},
        "Deployment agents-gateway": {"gateway-login"},
        "Deployment agents-shop-clerk": {"clerk-login"},
        "Deployment agents-shop-packer": {"worker-login"},
        "Pod agents-test": {"gateway-login"},
    }
    if used != expected:
        yield f"pods log in with {used}"


REFUSED = [
    ("a key that is none", {"worker": {"replica": 3}}, "additional properties 'replica' not allowed"),
    ("replicas that NATS does not have", {"nats": {"replicas": 2}}, "at '/nats/replicas': value must be one of 1, 3, 5"),
    ("a text for a number", {"keda": {"pollingInterval": "often"}}, "at '/keda/pollingInterval': got string, want integer"),
    ("a password in the address", {"nats": {"url": "nats://ann:hunter2@nats:4222"}}, "at '/nats/url'"),
    ("an ingress for no host", {"gateway": {"ingress": {"enabled": True}}}, "at '/gateway/ingress/hosts': minItems: got 0, want 1"),
    ("a file outside", {"orchestrations": {"support": {"files": {"../secret": ""}}}}, "at '/orchestrations/support/files': additional properties '../secret' not allowed"),
    ("no OpenTelemetry variable", {"otel": {"env": {"PATH": "/"}}}, "at '/otel/env': additional properties 'PATH' not allowed"),
    ("credentials of no Secret", {"nats": {"auth": {"creds": "baton.creds"}}}, "name the Secret that holds the credentials"),
    ("a Secret without keys", {"worker": {"auth": {"existingSecret": "login"}}}, "name the keys of the Secret login"),
    ("an agent that is none", {"orchestrations": {"support": {"agents": {"triag": {}}}}}, "the manifest has no such agent; it has"),
    ("a release's name that leaves no room", {"fullnameOverride": "x" * 50}, "Kubernetes takes 63"),
]


def manifest(name, *agents, scaling=None):
    """A manifest with these agents."""
    about = {"worker": {"scaling": scaling}} if scaling else {}
    spec = {"start": agents[0], "agents": {agent: about for agent in agents}} if agents else {"agents": {}}
    return {"apiVersion": "baton/v1alpha1", "kind": "Orchestration", "metadata": {"name": name}, "spec": spec}


REFUSED_ALONE = [
    ("no orchestration", {}, "orchestrations: name at least one"),
    ("a manifest that lacks a part", {"orchestrations": {"a": {"manifest": {"kind": "Pod"}}}}, "at '/orchestrations/a/manifest'"),
    ("another name", {"orchestrations": {"a": {"manifest": manifest("b", "x")}}}, 'metadata.name is "b"; give both the same name'),
    ("no agents", {"orchestrations": {"a": {"manifest": manifest("a")}}}, "its manifest has no agents"),
    ("text that is not YAML", {"orchestrations": {"a": {"manifest": "a: [b"}}}, "orchestrations.a.manifest is not YAML"),
    (
        "names that run together",
        {"orchestrations": {"a-b": {"manifest": manifest("a-b", "c")}, "a": {"manifest": manifest("a", "b-c")}}},
        'agent b-c of a and agent c of a-b would share the Deployment "r-baton-a-b-c"',
    ),
    ("names that run long", {"orchestrations": {"a" * 40: {"manifest": manifest("a" * 40, "b" * 40)}}}, "Kubernetes takes 63"),
    ("names that pods cannot have", {"orchestrations": {"a": {"manifest": manifest("a", "Größe")}}}, "cannot name pods"),
    (
        "a scaler that cannot ask",
        {"keda": {"enabled": True}, "orchestrations": {"a": {"manifest": manifest("a", "x", scaling={"min": 0, "max": 1})}}},
        "nats.monitoring.endpoint: KEDA needs it",
    ),
    (
        "a scaler without bounds",
        {"keda": {"enabled": True}, "orchestrations": {"a": {"manifest": manifest("a", "x", scaling={"min": 0})}}},
        "worker.scaling needs min and max",
    ),
    (
        "two files for one key",
        {"orchestrations": {"a": {"manifest": manifest("a", "x"), "files": {"p/q": "", "p__q": ""}}}},
        "is kept under the key p__q, which is taken",
    ),
]


def check_refusals():
    for cases, args in ((REFUSED, SUPPORT_ARGS), (REFUSED_ALONE, [])):
        for what, values, expected in cases:
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump(values, file)
                file.flush()
                said = helm("template", "r", CHART, "--values", file.name, *args)
            if said.returncode == 0:
                yield f"{what}: it is accepted"
            elif expected not in said.stderr:
                yield f"{what}: {expected!r} is not said:\n{said.stderr}"


def main():
    cases = sorted((CHART / "ci").glob("*.yaml"))
    checks = [(case.name, check_case(case)) for case in cases]
    checks += [("rollouts", check_rollout()), ("logins", check_logins()), ("refusals", check_refusals())]
    failed = 0
    for name, problems in checks:
        problems = list(problems)
        failed += len(problems)
        print(f"{name}: {'ok' if not problems else 'WRONG'}")
        for problem in problems:
            print("  " + problem.strip().replace("\n", "\n    "))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
