"""Submitting to SLURM and Kubernetes: what the programs there are asked for, and what is said when they are missing or say no.

The programs are stand-ins that write down what they get; real ones: test_slurm.py.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from xlli_ray import cli_jobs
from xlli_ray.engine.submit import kuberay, templates
from xlli_ray.engine.submit.job import Job
from xlli_ray.engine.submit.jobs import is_job, job_status, stop_job
from xlli_ray.engine.submit.kuberay import Kube, rayjob, submit_rayjob
from xlli_ray.engine.submit.slurm import Batch, submit_batch
from xlli_ray.errors import EnvironmentFailure, PlanError, RecipeError
from xlli_ray.recipe import Recipe, parse_recipe

Make = Callable[..., Recipe]

STAND_IN = """#!{python} -IS
import json, os, sys
name = os.path.basename(sys.argv[0])
text = "" if sys.stdin.isatty() else sys.stdin.read()
with open({asked!r}, "a") as file:
    file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
with open({asked!r} + ".text", "a") as file:
    file.write(text)
answers = json.load(open({answers!r}))
for key in (name + " " + " ".join(sys.argv[1:]), name):
    for start, (code, out) in answers.items():
        if key.startswith(start):
            print(out, file=sys.stderr if code else sys.stdout)
            sys.exit(code)
sys.exit(0)
"""


SQUEUE = "squeue --noheader --array --states=all --format=%i|%T|%r|%M|%l|%N"
UNKNOWN = (1, "slurm_load_jobs error: Invalid job id specified")


class Programs:
    """Stand-ins in a folder of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self.answers = folder, folder / "asked", folder / "answers"
        self.say({})

    def add(self, *names: str) -> Programs:
        for name in names:
            path = self.folder / name
            path.write_text(STAND_IN.format(python=sys.executable, asked=str(self.said), answers=str(self.answers)))
            path.chmod(0o755)
        return self

    def say(self, answers: dict[str, tuple[int, str]]) -> None:
        """Start of a command line → exit code and output; the first that fits."""
        self.answers.write_text(json.dumps(answers))

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self.said.read_text().splitlines()] if self.said.exists() else []

    @property
    def text(self) -> str:
        return Path(f"{self.said}.text").read_text()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Programs(folder)


# -- SLURM ------------------------------------------------------------------------------------------------------


def test_sbatch_gets_the_script_with_options_before_it_and_the_runs_behind(programs: Programs, recipe: Make) -> None:
    programs.add("sbatch", "xlli", "ray").say({"sbatch": (0, "4711;cluster")})
    job = Job(recipe(), "/shared/a study", workers=3, gpus_per_worker=0.5)
    batch = Batch(nodes=4, time="02:00:00", more=("--partition=gpu",))
    assert submit_batch(job, "/shared/r.yaml", ("seed=3",), batch) == "slurm:4711"
    ((*asked,),) = programs.asked
    script = str(templates.template("slurm.sbatch"))
    assert asked == ["sbatch", "--parsable", "--nodes=4", "--time=02:00:00", "--partition=gpu", script, "/shared/r.yaml", "/shared/a study",
                     "--set", "seed=3", "--workers", "3", "--gpus-per-worker", "0.5"]  # fmt: skip


def test_an_array_has_parts_and_the_job_finds_this_installations_xlli(
    programs: Programs, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("sbatch", "xlli", "ray").say({"sbatch": (0, "12")})
    monkeypatch.setattr(sys, "executable", str(programs.folder / "python"))
    monkeypatch.setenv("PATH", str(programs.folder / "elsewhere"))  # the program was called by its path
    assert submit_batch(Job(recipe(), "/s"), "r.yaml", (), Batch(array=True, parts=8)) == "slurm:12"
    assert programs.asked[0][2] == "--array=1-8"
    assert programs.asked[0][3].endswith("slurm-array.sbatch")
    with pytest.raises(PlanError, match=r"--workers does not go with --kind slurm-array.*--parts"):
        submit_batch(Job(recipe(), "/s", workers=2), "r.yaml", (), Batch(array=True))


def test_a_dry_run_shows_the_command_and_the_script_and_asks_nobody(programs: Programs, recipe: Make) -> None:
    said = submit_batch(Job(recipe(), "/shared/a b"), "r.yaml", (), Batch(nodes=2), dry=True)
    assert shlex.split(said.splitlines()[0])[:3] == ["sbatch", "--parsable", "--nodes=2"]
    assert "'/shared/a b'" in said
    assert templates.template("slurm.sbatch").read_text() in said
    assert programs.asked == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((1, "sbatch: error: invalid partition specified: gpu"), r"sbatch: sbatch: error: invalid partition specified: gpu"),
        ((0, "hello"), "sbatch gave no job number but 'hello'"),
    ],
)
def test_what_sbatch_does_not_like_is_said_in_its_words(programs: Programs, recipe: Make, answer: tuple[int, str], message: str) -> None:
    programs.add("sbatch", "xlli", "ray").say({"sbatch": answer})
    with pytest.raises(EnvironmentFailure, match=message):
        submit_batch(Job(recipe(), "/s"), "r.yaml", (), Batch())


def test_programs_that_are_not_there_are_one_message_with_the_way_out(programs: Programs, recipe: Make) -> None:
    programs.add("xlli", "ray")
    with pytest.raises(EnvironmentFailure, match=r"sbatch was not found\. Run this on a machine where SLURM's programs are: a login node"):
        submit_batch(Job(recipe(), "/s"), "r.yaml", (), Batch())
    with pytest.raises(EnvironmentFailure, match="squeue was not found"):
        job_status("slurm:3")
    with pytest.raises(EnvironmentFailure, match=r"kubectl was not found\. Install it.*--dry-run"):
        stop_job("kuberay:default/x")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"squeue": (0, "7|RUNNING|None|0:35|4:00:00|n[1-2]")}, "RUNNING: n[1-2], 0:35 of 4:00:00"),
        ({"squeue": (0, "7|PENDING|Resources|0:00|4:00:00|")}, "PENDING: Resources"),
        ({"squeue": (0, "7|COMPLETED|None|1:00|4:00:00|n1")}, "COMPLETED"),
        (
            {f"{SQUEUE} --name=xlli-7-end": (0, "8_0|PENDING|Dependency|0:00|1:00|"),
             "squeue": (0, "7_1|RUNNING|None|0:35|1:00|n1\n7_2|RUNNING|None|0:35|1:00|n1\n7_[3-4]|PENDING|Resources|0:00|1:00|")},
            "2 RUNNING, 1 PENDING; concluding job 8_0: PENDING: Dependency",
        ),
        ({"squeue": UNKNOWN, "sacct": (0, "COMPLETED|0:0")}, "COMPLETED|0:0"),
        ({"squeue": UNKNOWN, "sacct": (1, "accounting is disabled")}, "ENDED: SLURM no longer"),
    ],
)  # fmt: skip
def test_the_state_of_a_job_is_what_squeue_or_the_accounting_says(
    programs: Programs, answers: dict[str, tuple[int, str]], said: str
) -> None:
    programs.add("squeue", "sacct").say(answers)
    assert job_status("slurm:7").startswith(said)


def test_a_job_is_stopped_by_its_own_signal_and_not_queued_again_and_the_concluding_job_first(programs: Programs) -> None:
    programs.add("squeue", "scancel", "scontrol").say({
        f"{SQUEUE} --name=": (0, "8_0|PENDING|Dependency|0:00|1:00|"),
        "squeue": (0, "7_1|RUNNING|None|0:35|1:00|n1\n7_[2-4]|PENDING|Resources|0:00|1:00|\n7_0|COMPLETED|None|1:00|1:00|n1"),
    })  # fmt: skip
    assert stop_job("slurm:7") == "stopping; finished work is kept"
    assert [one for one in programs.asked if one[0] != "squeue"] == [
        ["scancel", "8_0"], ["scontrol", "update", "jobid=7_1", "requeue=0"], ["scancel", "--signal=TERM", "--batch", "7_1"],
        ["scancel", "7_[2-4]"],
    ]  # fmt: skip
    programs.say({"squeue": (0, "7|COMPLETED|None|1:00|4:00:00|n1")})
    assert stop_job("slurm:7") == "it had already ended"


# -- Kubernetes -------------------------------------------------------------------------------------------------


def test_a_rayjob_carries_recipe_image_and_study_and_everything_else_is_the_files(recipe: Make, tmp_path: Path) -> None:
    made = recipe(threads=2)
    config, ray = rayjob(Job(made, "s3://bucket/a study"), Kube("reg/xlli:1", workers_max=3, namespace="lab"), "xlli-toy-1")
    assert parse_recipe(yaml.safe_load(config["data"]["recipe.yaml"]), base=tmp_path) == made
    assert {one["metadata"]["name"] for one in (config, ray)} == {"xlli-toy-1"}
    assert {one["metadata"]["namespace"] for one in (config, ray)} == {"lab"}
    # 3 pods of 4 CPUs, workers of 2 threads
    command = "xlli run /etc/xlli/recipe.yaml --address auto --out 's3://bucket/a study' --workers 6"
    assert ray["spec"]["entrypoint"] == command
    images = re.findall(r"image: (\S+)", yaml.safe_dump(ray))
    assert images == ["reg/xlli:1"] * 3
    cluster = ray["spec"]["rayClusterSpec"]
    assert cluster["workerGroupSpecs"][0]["maxReplicas"] == 3
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (volume,) = group["template"]["spec"]["volumes"]
        assert volume["configMap"] == {"name": "xlli-toy-1", "items": [{"key": "recipe.yaml", "path": "recipe.yaml"}]}


def test_a_training_is_submitted_to_kubernetes_as_one(root: Path) -> None:
    from xlli_ray.engine.submit.sent_recipe import read_recipe

    _, ray = rayjob(Job(read_recipe(root / "pipelines/train_matched.yaml"), "s3://b/t"), Kube("reg/xlli:1"), "x")
    assert ray["spec"]["entrypoint"].startswith("xlli train /etc/xlli/recipe.yaml --address auto --out s3://b/t --workers ")


def test_what_kubectl_applies_can_be_read_back_and_its_name_follows_it(programs: Programs, recipe: Make) -> None:
    state = {"status": {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "failed": 2}}
    missing = (1, 'Error from server (NotFound): rayjobs.ray.io "x" not found')
    programs.add("kubectl").say({"kubectl get": (0, json.dumps(state)), "kubectl delete": (0, 'rayjob.ray.io "x" deleted')})
    name = submit_rayjob(Job(recipe(name="Ein_Name"), "s3://b/x"), Kube("reg/xlli:1"))
    assert re.fullmatch(r"kuberay:default/xlli-ein-name-[0-9a-f]{6}", name)
    assert is_job(name)
    config, ray = yaml.safe_load_all(programs.text)
    assert f"kuberay:default/{ray['metadata']['name']}" == name
    assert (config["kind"], ray["kind"]) == ("ConfigMap", "RayJob")
    assert job_status("kuberay:default/x") == "RUNNING: Running, 2 tries failed"
    assert stop_job("kuberay:default/x") == "stopping; finished work is kept"
    assert programs.asked[-1][1:4] == ["delete", "rayjob/x", "configmap/x"]
    programs.say({"kubectl get": missing, "kubectl delete": (0, "")})
    assert job_status("kuberay:default/x").startswith("ENDED: it is no longer there")
    assert stop_job("kuberay:default/x") == "it had already ended and was removed"


def test_kubectl_that_reaches_no_cluster_is_said_in_its_words(programs: Programs, recipe: Make) -> None:
    programs.add("kubectl").say({"kubectl": (1, "The connection to the server localhost:8080 was refused")})
    with pytest.raises(EnvironmentFailure, match=r"kubectl: The connection to the server localhost:8080 was refused"):
        submit_rayjob(Job(recipe(), "s3://b/x"), Kube("reg/xlli:1"))


def test_a_template_of_ones_own_is_used_and_one_that_is_none_is_refused(recipe: Make, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    text = templates.template("rayjob.yaml").read_text().replace('cpu: "4"', 'cpu: "1"')
    own.write_text(text.replace("backoffLimit: 10", "backoffLimit: 3"))
    _, ray = rayjob(Job(recipe(), "s3://b/x"), Kube(template=own), "x")
    assert ray["spec"]["backoffLimit"] == 3
    assert ray["spec"]["entrypoint"].endswith("--workers 8"), "eight pods of one CPU"
    with pytest.raises(RecipeError, match=r"no worker of 4 threads and 0 GPUs fits in a pod of 1 CPUs"):
        rayjob(Job(recipe(threads=4), "s3://b/x"), Kube(template=own), "x")
    own.write_text("kind: RayJob\n")
    with pytest.raises(RecipeError, match=r"own\.yaml: not a ConfigMap and a RayJob like docs/clusters/rayjob\.yaml"):
        rayjob(Job(recipe(), "s3://b/x"), Kube(template=own), "x")
    with pytest.raises(RecipeError, match="there is no such file"):
        rayjob(Job(recipe(), "s3://b/x"), Kube(template=tmp_path / "none.yaml"), "x")
    with pytest.raises(RecipeError, match="needs --image"):
        submit_rayjob(Job(recipe(), "s3://b/x"), Kube(), dry=True)


def test_code_beside_a_recipe_that_a_config_map_cannot_hold_is_refused(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuberay, "files_of", lambda _recipe, _limit: {"recipe.yaml": b"a: 1\n", "sent/metrics.py": b"x = 1\n"})
    config, ray = rayjob(Job(recipe(), "s3://b/x"), Kube("i"), "x")
    assert config["data"] == {"recipe.yaml": "a: 1\n", "file-1": "x = 1\n"}
    (volume,) = ray["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"key": "file-1", "path": "sent/metrics.py"} in volume["configMap"]["items"]


# -- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slurm:", "slurm:x", "slurm:1;rm", "kuberay:x", "kuberay:a/B", "kuberay:/x", "kuberay:a/x/y"])
def test_a_name_that_is_none_is_refused_with_the_form(programs: Programs, name: str) -> None:
    for call in (job_status, stop_job):
        with pytest.raises(RecipeError, match=r"is not a job: write (slurm:JOB|kuberay:NAMESPACE/NAME)"):
            call(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "slurm", "image": "a"}, "--image does not go with --kind slurm, but with --kind kuberay"),
        ({"kind": "slurm", "parts": 3}, "--parts does not go with --kind slurm, but with --kind slurm-array"),
        ({"kind": "ray", "nodes": 3}, "--nodes does not go with --kind ray, but with --kind slurm"),
        ({"kind": "kuberay", "time": "1"}, "--time does not go with --kind kuberay, but with --kind slurm or slurm-array"),
        ({"kind": "ray"}, "--kind ray needs --address"),
    ],
)  # fmt: skip
def test_an_option_of_another_kind_is_refused_by_name(recipe: Make, tmp_path: Path, options: dict[str, object], message: str) -> None:
    recipe()
    with pytest.raises(PlanError, match=re.escape(message)):
        cli_jobs.submit(tmp_path / "recipe.yaml", out="/shared/x", **options)  # type: ignore[arg-type]


def test_a_relative_study_is_in_the_folder_of_the_submission_for_slurm_and_refused_where_there_is_no_such_folder(
    recipe: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe()
    monkeypatch.chdir(tmp_path)
    assert cli_jobs.submit(Path("recipe.yaml"), kind="slurm", dry_run=True) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.endswith(f"slurm.sbatch {tmp_path}/recipe.yaml {tmp_path}/studies/toy")
    with pytest.raises(RecipeError, match="--out studies/toy: give an absolute path"):
        cli_jobs.submit(Path("recipe.yaml"), kind="kuberay", image="a", dry_run=True)
    assert cli_jobs.submit(Path("recipe.yaml"), out="/shared/x", dry_run=True) == 0
    assert capsys.readouterr().out.startswith("# xlli run recipe.yaml --address auto --out /shared/x\n# with recipe.yaml\n\nname: toy\n")
