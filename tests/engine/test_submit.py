"""Submitting to a cluster: what is refused before anything is sent, and one real head with a token."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ray_head import Head, answer

from xlli_ray import user_code
from xlli_ray.engine.submit import ray_jobs, sent_recipe
from xlli_ray.engine.submit.job import Job
from xlli_ray.errors import EnvironmentFailure, RecipeError, StudyError
from xlli_ray.recipe import Recipe, load_recipe, parse_recipe
from xlli_ray.study import open_study
from xlli_ray.training.recipe import load_recipe as load_training

Make = Callable[..., Recipe]


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


# -- without Ray ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set5", "degraded_patches", "pies"])
def test_what_is_sent_parses_back_to_the_same_recipe_in_any_folder(root: Path, tmp_path: Path, name: str) -> None:
    recipe = load_recipe(root / f"tests/recipes/{name}.yaml")
    sent = yaml.safe_load(yaml.safe_dump(sent_recipe.as_recipe(recipe), sort_keys=False))
    assert parse_recipe(sent, base=tmp_path) == recipe


def test_what_is_sent_keeps_every_choice_that_a_recipe_can_make(recipe: Make, corpus: Path, tmp_path: Path) -> None:
    models = [
        {"id": "a", "network": "toy:small", "args": {"seed": 3}, "range": [0, 255], "tags": {"family": "toy", "depth": 2}},
        {"id": "b", "network": "toy:small", "output": "none"},
    ]
    stages = [
        {"features": {"id": "small", "layers": ["head"], "pool": {"stride": 2}, "max_rows": 4, "models": {"family": "toy"}}},
        {"features": {"layers": ["tail:input"], "codec": "none", "dtype": "float32"}},
        {"restore": {"save": True, "models": ["a"]}},
    ]
    patches = {"images": [f"{corpus}/*.png"], "scale": 2, "patches": {"size": 16, "per_image": None, "min_std": 0.0}}
    made = recipe(
        models=models, stages=stages, corpus=patches, batch={"features": "auto", "restore": 3}, threads=2,
        limits={"bytes": "1.5 TiB", "hours": 3}, seed=7,
    )  # fmt: skip
    sent = yaml.safe_load(yaml.safe_dump(sent_recipe.as_recipe(made)))
    assert parse_recipe(sent, base=tmp_path / "elsewhere") == made


def test_what_is_sent_names_stages_of_others_by_their_place_and_no_models_where_there_are_none(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from xlli_ray.probes.probe import Probe\n\n\nclass Plain(Probe):\n    KIND, SUBJECT = 'plain', 'sample'\n"
    (tmp_path / "someones_sent.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(user_code, "_allowed", set())
    made = recipe(models=[], stages=[{"someones_sent:Plain": {}}], batch={})
    sent = yaml.safe_load(yaml.safe_dump(sent_recipe.as_recipe(made)))
    assert parse_recipe(sent, base=tmp_path / "elsewhere") == made


def test_a_relative_out_is_refused_because_the_job_runs_elsewhere(recipe: Make) -> None:
    with pytest.raises(RecipeError, match=r"--out studies/toy: give an absolute path that all nodes share"):
        ray_jobs.submit_job(Job(recipe(), "studies/toy"), "http://127.0.0.1:8265")


def test_credentials_in_out_are_refused_and_not_repeated(recipe: Make) -> None:
    with pytest.raises(StudyError, match="contains credentials") as caught:
        ray_jobs.submit_job(Job(recipe(), "s3://me:geheim@bucket/x"), "http://127.0.0.1:8265")
    assert "geheim" not in str(caught.value)


@pytest.mark.usefixtures("no_token")
@pytest.mark.parametrize("address", ["http://head:8265", "https://10.0.0.7:8265", "http://0.0.0.0:8265", "ray://head:10001", "head:8265"])
def test_an_address_beyond_this_machine_without_a_token_is_refused(recipe: Make, address: str) -> None:
    with pytest.raises(EnvironmentFailure, match=r"no token\. Start the cluster with RAY_AUTH_MODE=token"):
        ray_jobs.submit_job(Job(recipe(), "/shared/toy"), address)


@pytest.mark.parametrize("job", ["http://head:8265", "http://head:8265#", "raysubmit_1", ""])
def test_a_string_that_names_no_job_is_refused_with_the_form(job: str) -> None:
    for call in (ray_jobs.job_status, ray_jobs.stop_job):
        with pytest.raises(RecipeError, match="write http://head:8265#JOB"):
            call(job)


@pytest.mark.usefixtures("no_token")
def test_a_head_that_does_not_answer_is_one_message_with_the_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentFailure, match=rf"127\.0\.0\.1:{port}.*Is it the head's Jobs API"):
        ray_jobs.job_status(f"http://127.0.0.1:{port}#raysubmit_1")


class _Client:
    """Stands for Ray's client: remembers what it was asked."""

    def __init__(self, log: str = "", end: str = "SUCCEEDED") -> None:
        self.asked: dict[str, object] = {}
        self.recipe: dict[str, object] = {}
        self.files: dict[str, str] = {}
        self.log, self.end, self.looks = log, end, 0

    def submit_job(self, **fields: object) -> str:
        self.asked = fields
        self.files = {
            str(path.relative_to(fields["runtime_env"]["working_dir"])): path.read_text()  # type: ignore[index]
            for path in sorted(Path(fields["runtime_env"]["working_dir"]).rglob("*.py"))  # type: ignore[index]
        }
        folder = Path(fields["runtime_env"]["working_dir"])  # type: ignore[index]
        self.recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        return "raysubmit_1"

    def get_job_status(self, name: str) -> str:
        self.looks += 1
        return self.end if self.looks > 1 else "RUNNING"

    def get_job_logs(self, name: str) -> str:
        return self.log[: self.looks * 6]


def test_the_job_is_the_same_command_on_the_recipe_that_was_sent(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client()
    monkeypatch.setattr(ray_jobs, "_client", lambda _: client)
    made = recipe()
    job = ray_jobs.submit_job(Job(made, "/shared/a study", workers=3, gpus_per_worker=0.5), "http://127.0.0.1:8265")
    assert job == "raysubmit_1"
    command = "xlli run recipe.yaml --address auto --out '/shared/a study' --workers 3 --gpus-per-worker 0.5"
    assert client.asked["entrypoint"] == command
    assert parse_recipe(client.recipe, base=Path("/anywhere")) == made


def test_a_training_is_submitted_as_a_study_is(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client()
    monkeypatch.setattr(ray_jobs, "_client", lambda _: client)
    monkeypatch.setattr(user_code, "_allowed", set())
    ray_jobs.submit_job(Job(sent_recipe.read_recipe(root / "pipelines/train_matched.yaml"), "s3://b/trained"), "http://127.0.0.1:8265")
    assert client.asked["entrypoint"] == "xlli train recipe.yaml --address auto --out s3://b/trained"
    (tmp_path / "sent.yaml").write_text(yaml.safe_dump(client.recipe, sort_keys=False))
    sent, ours = (load_training(path).jobs() for path in (tmp_path / "sent.yaml", root / "pipelines/train_matched.yaml"))
    assert sent == ours
    (tmp_path / "net.py").write_text("def make():\n    pass\n")
    grid = [{"id": "a", "train": {"init": "a.pth"}}, {"id": "b", "train": {"init": "a"}}]
    recipe = {"name": "own", "corpus": {"images": ["*.png"]}, "train": {"network": "net.py:make", "iterations": 1}, "grid": grid}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe))
    ray_jobs.submit_job(Job(sent_recipe.read_recipe(tmp_path / "own.yaml"), "/shared/x", workers=2), "http://127.0.0.1:8265")
    assert client.asked["entrypoint"] == "xlli train recipe.yaml --address auto --out /shared/x --workers 2"
    assert list(client.files) == ["net.py"]
    assert "folder" not in client.recipe["train"]  # type: ignore[operator]
    assert [entry["train"]["init"] for entry in client.recipe["grid"]] == [str(Path("a.pth").absolute()), "a"]  # type: ignore[attr-defined]


ONES = """
from xlli_ray.probes.metrics import Metric
from xlli_ray.probes.measurement import Column


class Ones(Metric):
    COLUMN = Column("ones", "float64", "one")

    def score(self, pair):
        return 1.0
"""


@pytest.mark.parametrize(
    ("place", "sent"),
    [
        ("sent/metrics.py:Ones", ["sent/__init__.py", "sent/helper.py", "sent/metrics.py"]),
        ("sent.metrics:Ones", ["sent/__init__.py", "sent/helper.py", "sent/metrics.py"]),
        ("alone:Ones", ["alone.py"]), ("absolute", []),
    ],
)  # fmt: skip
def test_the_code_beside_a_recipe_goes_with_it(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, sent: list[str]
) -> None:
    """A job on a cluster ended with "there is no file", for its nodes have no such folder."""
    (tmp_path / "sent").mkdir()
    files = {"sent/metrics.py": ONES, "sent/helper.py": "", "sent/__init__.py": "", "alone.py": ONES, "notes.txt": "x"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(user_code, "_allowed", set())
    monkeypatch.chdir(tmp_path)
    client = _Client()
    monkeypatch.setattr(ray_jobs, "_client", lambda _: client)
    place = f"{tmp_path}/alone.py:Ones" if place == "absolute" else place
    made = recipe(stages=[{"restore": {"metrics": [place]}}], batch={})
    ray_jobs.submit_job(Job(made, "/shared/study"), "http://127.0.0.1:8265")
    assert sorted(client.files) == sent
    monkeypatch.setattr(sent_recipe, "CODE_BYTES", 0)
    if sent:
        with pytest.raises(RecipeError, match="Python files beside the recipe hold"):
            ray_jobs.submit_job(Job(made, "/shared/study"), "http://127.0.0.1:8265")


@pytest.mark.parametrize(("end", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 1)])
def test_following_prints_each_line_of_the_log_once_and_returns_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, end: str, code: int
) -> None:
    client = _Client("eins\nzwei\n", end)
    monkeypatch.setattr(ray_jobs, "_client", lambda _: client)
    monkeypatch.setattr(ray_jobs.time, "sleep", lambda _: None)
    said: list[str] = []
    assert ray_jobs.follow_job("http://127.0.0.1:8265", "raysubmit_1", said.append) == code
    assert "".join(said[:-1]).replace("\n", "") == "einszwei"
    assert said[-1] == f"job raysubmit_1: {end}"


# -- against a real head ----------------------------------------------------------------------------------------


SLOW = """
import time
from pathlib import Path
import toy

class Slow(toy.Small):
    def forward(self, x):
        if x.device.type != "meta" and Path(__file__).with_name("slowly").exists():
            time.sleep(4)
        return super().forward(x)

def small():
    return Slow()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_submit_follow_status_stop_on_a_local_head_with_a_token(jobs_head: Head, recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "ones.py").write_text(ONES)
    made = recipe(stages=[{"features": {"layers": ["head"]}}, {"restore": {"metrics": ["ones.py:Ones"]}}])
    path, study = tmp_path / "recipe.yaml", tmp_path / "study"

    assert answer(f"{jobs_head.url}/api/jobs/", None) == 401
    assert answer(f"{jobs_head.url}/api/jobs/", "0" * 64) in (401, 403)
    refused = jobs_head.xlli("submit", str(path), "--address", jobs_head.url, "--out", str(study), token=False)
    assert refused.returncode == 3, refused.stderr
    assert refused.stderr.startswith("EnvironmentFailure: ")
    assert "Traceback" not in refused.stderr
    assert "is the token right?" in refused.stderr
    assert not study.exists()

    done = jobs_head.xlli("submit", str(path), "--address", jobs_head.url, "--out", str(study), "--workers", "2", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED" in done.stdout
    assert "24 samples" in done.stdout, "the job's own log came back"
    job = done.stdout.split("job ")[1].split(":")[0]
    assert jobs_head.xlli("status", f"{jobs_head.url}#{job}").stdout.startswith("SUCCEEDED")
    whole = jobs_head.xlli("verify", str(study))
    assert whole.returncode == 0, whole.stdout
    assert "whole" in whole.stdout
    assert open_study(study).sql("select distinct ones from restore").to_pylist() == [{"ones": 1.0}], "the code went with the recipe"
    for file in study.rglob("*"):
        assert not file.is_file() or jobs_head.token.encode() not in file.read_bytes(), f"the token is in {file}"
    assert made.name in (study / "study.json").read_text()

    # a second job, long enough to be stopped: its network sleeps
    path.write_text(path.read_text().replace("toy:small", "slow_toy:small"))
    (tmp_path / "slow_toy.py").write_text(SLOW)
    (tmp_path / "slowly").touch()
    longer = tmp_path / "longer"
    sent = jobs_head.xlli("submit", str(path), "--address", jobs_head.url, "--out", str(longer), "--workers", "2")
    assert sent.returncode == 0, sent.stderr
    name = sent.stdout.split("job ")[1].split(":")[0]
    end = time.monotonic() + 120
    while not list(longer.glob("records/**/*.arrow")):
        state = jobs_head.xlli("status", f"{jobs_head.url}#{name}").stdout
        assert "FAILED" not in state, state
        assert time.monotonic() < end, state
        time.sleep(0.5)
    assert "kept" in jobs_head.xlli("stop", f"{jobs_head.url}#{name}").stdout
    while not (state := jobs_head.xlli("status", f"{jobs_head.url}#{name}").stdout).startswith("STOPPED"):
        assert time.monotonic() < end, state
        time.sleep(0.5)
    assert "already ended" in jobs_head.xlli("stop", f"{jobs_head.url}#{name}").stdout
    kept = {file.name for file in longer.glob("records/**/*.arrow")}
    assert kept
    (tmp_path / "slowly").unlink()
    resumed = jobs_head.xlli("submit", str(path), "--address", jobs_head.url, "--out", str(longer), "--workers", "2", "--follow")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert kept <= {file.name for file in longer.glob("records/**/*.arrow")}, "what was done before the stop is kept"
    assert jobs_head.xlli("verify", str(longer)).returncode == 0


@pytest.mark.slow
def test_a_node_that_does_not_see_the_study_or_the_corpus_is_named(ray_session: None, tmp_path: Path) -> None:
    import ray

    from xlli_ray.engine.pools.ray_pool import nodes_see

    assert ray.is_initialized()
    host = next(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])
    study, file = tmp_path / "study", tmp_path / "a.png"
    (study / "lease").mkdir(parents=True)
    (study / "lease" / "canary").write_bytes(b"seen")
    file.write_bytes(b"bytes")
    nodes_see(str(study), "lease/canary", b"seen", [str(file)])
    with pytest.raises(EnvironmentFailure, match=rf"node {host} sees another folder at .*study: use a path that all nodes share"):
        nodes_see(str(study), "lease/canary", b"other", [])
    with pytest.raises(EnvironmentFailure, match=rf"node {host} does not see .*gone.*nothing was computed"):
        nodes_see(str(tmp_path / "gone"), "lease/canary", b"seen", [])
    with pytest.raises(EnvironmentFailure, match=rf"node {host} does not see .*b\.png.*or s3://"):
        nodes_see(str(study), "lease/canary", b"seen", [str(tmp_path / "b.png")])
