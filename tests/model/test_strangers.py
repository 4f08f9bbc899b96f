"""Files that somebody made to do harm: each is refused, with the right status, before anything in it ran.

The canary is a file that every one of them would make if its code ran, and memory that none may take.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import resource
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from imgtrain.dataset import groups
from imgtrain.errors import RunFileError
from imgtrain.model.archive import load_model
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.workflows.evaluate import evaluate

pytestmark = pytest.mark.tensorflow

SIDE = 12
# More than any of these tests needs, far less than any of the bombs claims.
MOST_GROWTH_MIB = 400


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one network as `m.keras` and `m.h5`."""
    folder = tmp_path_factory.mktemp("honest")
    layers = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    model.compile("adam", "categorical_crossentropy")
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    return folder


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a file that hostile code would make; the test fails if it is there at the end, or memory was taken."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield path
    assert not path.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_MIB * 1024


def hostile_code() -> str:
    """Return the bytecode of a Lambda that makes the canary, as Keras writes it."""
    function = lambda x: __import__("pathlib").Path(__import__("os").environ["CANARY"]).touch() or x  # noqa: E731
    return base64.b64encode(marshal.dumps(function.__code__)).decode()


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description of the network in a model file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    rewrite(path, lambda members: members.update({"config.json": changed(members["config.json"], change)}))


def changed(text: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    config = json.loads(text)
    change(config)
    return json.dumps(config).encode()


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Change the members of a .keras file."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)


def edit_weights(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change the HDF5 part of a model file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            change(file)
        return

    def in_memory(members: dict[str, bytes]) -> None:
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "r+") as file:
            change(file)
        members["model.weights.h5"] = content.getvalue()

    rewrite(path, in_memory)


def insert(layer: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["config"]["layers"].insert(1, layer)


def set_last(**arguments: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["config"]["layers"][-1]["config"].update(arguments)


def layer(name: str, module: str = "keras.layers", /, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "module": module, "config": config, "registered_name": None}


LAMBDA = {"class_name": "__lambda__", "config": {"value": hostile_code()}}
# What the description of the network may name, and what is said of it.
HOSTILE_NAMES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "Lambda with bytecode": (insert(layer("Lambda", function=LAMBDA)), "Lambda, which runs Python code"),
    "Lambda of Keras 2": (
        insert({"class_name": "Lambda", "config": {"function": [hostile_code(), None, None]}}),
        "Lambda, which runs Python code",
    ),
    "Lambda in a wrapper": (
        insert(layer("TimeDistributed", layer=layer("Lambda", function=LAMBDA))),
        "Lambda, which runs Python code",
    ),
    "Lambda in a nested model": (
        insert(layer("Sequential", "keras", name="s", layers=[layer("Lambda", function=LAMBDA)])),
        "Lambda, which runs Python code",
    ),
    "bytecode as activation": (set_last(activation=LAMBDA), "__lambda__, which is not a built-in"),
    "a function of os": (
        set_last(activation={"class_name": "function", "module": "os", "config": "system"}),
        "function, which is from module os",
    ),
    "eval": (
        set_last(kernel_initializer={"class_name": "function", "module": "builtins", "config": "eval"}),
        "is from module builtins",
    ),
    "a function of Keras that fetches files": (
        set_last(
            kernel_regularizer={"class_name": "function", "module": "keras.utils", "config": "get_file"}
        ),
        "function, which is not a built-in",
    ),
    "a class of subprocess": (
        insert(layer("Popen", "subprocess", args="touch $CANARY")),
        "is from module subprocess",
    ),
    "a module beside the file": (insert(layer("Evil", "evil")), "is from module evil"),
    "a registered class": (
        insert({**layer("Dense", units=1), "registered_name": "evil>Dense"}),
        "evil>Dense, which is a custom class",
    ),
    "TFSMLayer": (insert(layer("TFSMLayer", filepath="/tmp/evil")), "loads another model from disk"),
    "a vocabulary in a file": (insert(layer("StringLookup", vocabulary="/etc/passwd")), "reads other files"),
    "a vocabulary elsewhere": (
        insert(layer("TextVectorization", vocabulary="gs://x/y")),
        "reads other files",
    ),
    "an address as a name": (set_last(name="https://evil.example/x"), "is a URL"),
    "TorchModuleWrapper": (insert(layer("TorchModuleWrapper", module={})), "runs custom code"),
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_what_could_run_is_refused_by_name(
    honest: Path, tmp_path: Path, canary: Path, suffix: str, name: str
) -> None:
    change, said = HOSTILE_NAMES[name]
    path = tmp_path / f"m.{suffix}"
    path.write_bytes((honest / path.name).read_bytes())
    edit(path, change)
    refused(path, said)


def refused(path: Path, said: str) -> str:
    with pytest.raises(RunFileError) as caught:
        load_model(path)
    assert caught.value.exit_status == 4
    assert said in str(caught.value), str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_canary_would_sing(canary: Path) -> None:
    code = marshal.loads(base64.b64decode(hostile_code()))
    type(lambda: None)(code, {"__builtins__": __builtins__})(1)
    assert canary.exists()
    canary.unlink()


def insert_all(*layers: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change of the description: layers behind the input, whatever the next one was built for."""

    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1:1] = layers
        for other in config["config"]["layers"]:
            other.pop("build_config", None)

    return change


FAR = [[0, 10**6], [0, 10**6]]
BOMBS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "weights of terabytes": (
        set_last(units=10**9),
        "its weights take 1.5 TiB, more than the limit of 4.0 GiB",
    ),
    "an output of terabytes": (
        # What is added is taken away again: all that comes after has its old shape.
        insert_all(layer("ZeroPadding2D", padding=FAR), layer("Cropping2D", cropping=FAR)),
        "the output of a layer takes, for one image, 10.9 TiB, more than the limit of 4.0 GiB",
    ),
    "an image enlarged": (insert_all(layer("UpSampling2D", size=[50_000, 50_000])), "its weights take"),
    "weights in a nested model": (
        insert_all(
            layer(
                "Sequential",
                "keras",
                name="s",
                layers=[
                    layer("InputLayer", batch_shape=[None, SIDE, SIDE, 3], name="i"),
                    layer("Conv2D", filters=10**8, kernel_size=[9, 9], padding="same", name="c"),
                ],
            )
        ),
        "its weights take",
    ),
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_network_that_would_fill_the_memory_is_refused_before_it_does(
    honest: Path, tmp_path: Path, canary: Path, suffix: str, name: str
) -> None:
    change, said = BOMBS[name]
    path = tmp_path / f"m.{suffix}"
    path.write_bytes((honest / path.name).read_bytes())
    edit(path, change)
    assert "--max-model-gib" in refused(path, said)


def external_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def external_numbers(file: h5py.File) -> None:
    file.create_dataset("stolen", (64,), "u1", external=[("/etc/passwd", 0, 64)])


def virtual_array(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((64,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (64,))
    file.create_virtual_dataset("stolen", layout)


def compressed_bomb(file: h5py.File) -> None:
    file.create_dataset("bomb", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def empty_bomb(file: h5py.File) -> None:
    file.create_dataset("bomb", (2**20, 2**20), "f8", chunks=(1024, 1024))


def many_bombs(file: h5py.File) -> None:
    for number in range(64):
        file.create_dataset(f"bomb/{number}", (2**26,), "f4", chunks=(2**20,), compression="gzip")


def cycle(file: h5py.File) -> None:
    file.create_group("round")["round"] = file


def soft_link(file: h5py.File) -> None:
    file["soft"] = h5py.SoftLink("/soft")


def texts(file: h5py.File) -> None:
    file.create_dataset("texts", data=["x"] * 4, dtype=h5py.string_dtype())


HOSTILE_HDF5: dict[Callable[[h5py.File], None], str] = {
    external_link: "is an external or symbolic link",
    external_numbers: "is stored in another file",
    virtual_array: "is a virtual dataset of other files",
    compressed_bomb: "its arrays take 4.0 TiB, more than the limit of 4.0 GiB",
    empty_bomb: "its arrays take 8.0 TiB",
    many_bombs: "more than the limit of 4.0 GiB",
    cycle: "has several links",
    soft_link: "is an external or symbolic link",
    texts: "is not numeric",
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("change", HOSTILE_HDF5)
def test_hdf5_that_claims_or_takes_what_is_not_its_own_is_refused(
    honest: Path, tmp_path: Path, canary: Path, suffix: str, change: Callable[[h5py.File], None]
) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes((honest / path.name).read_bytes())
    edit_weights(path, change)
    refused(path, HOSTILE_HDF5[change])


def test_a_second_network_appended_as_a_zip_is_refused(honest: Path, tmp_path: Path, canary: Path) -> None:
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, activation="softmax")]
    keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers]).save(tmp_path / "other.keras")
    path = tmp_path / "m.keras"
    path.write_bytes((honest / "m.h5").read_bytes() + (tmp_path / "other.keras").read_bytes())
    # The attack: what begins as one network is loaded as another.
    assert keras.models.load_model(path).output_shape == (None, 5)
    refused(path, "contains HDF5 but has the suffix .keras")
    refused(path.rename(tmp_path / "m.h5"), "both a zip archive and an HDF5 file")


@pytest.mark.parametrize("name", ["../canary", "/tmp/canary", "a/../../canary", "..\\canary", "C:\\canary"])
def test_a_member_that_would_leave_its_folder_is_refused(
    honest: Path, tmp_path: Path, canary: Path, name: str
) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    rewrite(path, lambda members: members.update({name: b"x"}))
    refused(path, "would be extracted outside its folder")


def test_a_member_that_is_a_link_is_refused(honest: Path, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    link = zipfile.ZipInfo("assets/x")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_descriptions_of_which_one_is_looked_at_are_refused(
    honest: Path, tmp_path: Path, canary: Path
) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", archive.read("config.json"))
    refused(path, "two members with the same name")


def test_a_zip_bomb_is_refused(honest: Path, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(5):
            with archive.open(f"assets/{number}", "w", force_zip64=True) as member:
                member.write(b"x")
    # A directory that says the members are larger than they are costs no disk in this test.
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    place = directory
    while (place := content.find(b"PK\x01\x02", place)) >= 0:
        if b"assets/" in content[place + 46 : place + 60]:
            content[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
        place += 4
    path.write_bytes(content)
    refused(path, "unpacks to 10.0 GiB, more than the limit of 4.0 GiB")


def test_an_endless_description_is_refused(honest: Path, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    rewrite(path, lambda members: members.update({"config.json": b"[" * 100_000}))
    refused(path, "corrupt")
    deep = b'{"class_name": "Sequential", "config": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}"
    rewrite(path, lambda members: members.update({"config.json": deep}))
    refused(path, "cannot be loaded by Keras")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    "record",
    ["{", "[]", '{"class_names": "ab"}', '{"class_names": ["a"], "target_size": [1e9, 1]}', "null", "\ud800"],
)
def test_a_wrong_record_is_refused(
    honest: Path, tmp_path: Path, canary: Path, suffix: str, record: str
) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes((honest / path.name).read_bytes())
    text = record.encode("utf-8", "surrogatepass")
    if suffix == "keras":
        rewrite(path, lambda members: members.update({"imgtrain.json": text}))
    else:
        edit_weights(path, lambda file: file.attrs.__setitem__("imgtrain", np.bytes_(text)))
    refused(path, "record")


@pytest.mark.parametrize(
    ("expression", "said"),
    [("(", "unterminated subpattern"), ("a", "exactly one group"), ("(b+)+$", "takes longer than 1 seconds")],
)
def test_an_expression_of_a_record_is_refused_or_ended(
    honest: Path, tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, expression: str, said: str
) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    record = ModelMetadata(
        class_names=("a", "b", "c"),
        target_size=(SIDE, SIDE),
        color_mode="rgb",
        class_mode="categorical",
        resize="stretch",
        interpolation="bilinear",
        group_by=expression,
        data_fingerprint="0",
        versions={},
        created="now",
    )
    rewrite(path, lambda members: members.update({"imgtrain.json": record.to_json().encode()}))
    for name in record.class_names:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / name / f"{'b' * 40}a.png")
    monkeypatch.setattr(groups, "_SECONDS", 1.0)
    with pytest.raises(RunFileError, match=said) as caught:
        evaluate(path, data=tmp_path / "images")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04\x95" + b"x" * 50, "pickle"),
        (b"x" * 4 + b"TFL3" + b"x" * 50, "TensorFlow Lite"),
        (b"\x08\x07\x12\x07pytorch", "is not a Keras model file"),
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "contains HDF5 but has the suffix .keras"),
        (b"PK\x03\x04" + b"\0" * 50, "corrupt"),
    ],
)
def test_what_is_no_model_at_all_is_told_for_what_it_is(
    tmp_path: Path, canary: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(content)
    refused(path, said)


def test_a_saved_model_folder_is_told_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    refused(tmp_path, "TensorFlow SavedModel")


def test_the_limit_can_be_raised_and_execution_cannot(honest: Path, tmp_path: Path, canary: Path) -> None:
    with pytest.raises(RunFileError, match=r"more than the limit of 1\.0 KiB"):
        load_model(honest / "m.keras", max_gib=2**-20)
    path = tmp_path / "m.keras"
    path.write_bytes((honest / path.name).read_bytes())
    edit(path, insert(layer("Lambda", function=LAMBDA)))
    with pytest.raises(RunFileError, match="runs Python code"):
        load_model(path, max_gib=1e6)


def old_keras(path: Path, version: str) -> None:
    """Make a file say that an older Keras wrote it, with an argument that is no longer known."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["keras_version"] = version
    else:
        rewrite(
            path,
            lambda members: members.update(
                {"metadata.json": json.dumps({"keras_version": version}).encode()}
            ),
        )
    edit(path, set_last(implementation_of_old=7))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("version", "said"),
    [("2.9.0", "TF_USE_LEGACY_KERAS=1"), ("99.1.0", "newer version"), ("", "record which version")],
)
def test_what_wrote_a_file_that_cannot_be_loaded_is_said(
    honest: Path, tmp_path: Path, suffix: str, version: str, said: str
) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes((honest / path.name).read_bytes())
    old_keras(path, version)
    assert f"cannot be loaded by Keras {keras.__version__}" in refused(path, said)


def test_a_file_as_keras_2_wrote_it_is_loaded(tmp_path: Path) -> None:
    initializer = {"class_name": "GlorotUniform", "config": {"seed": None}}
    common = {"trainable": True, "dtype": "float32"}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIDE, SIDE, 3], "dtype": "float32",
                                                "sparse": False, "ragged": False, "name": "i"}},
        {"class_name": "Flatten", "config": {"name": "f", "data_format": "channels_last", **common}},
        {"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "sigmoid", "use_bias": True,
                                           "kernel_initializer": initializer, **common}},
    ]  # fmt: skip
    kernel = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 1)).astype("f4")
    path = tmp_path / "skin.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.9.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        )
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"f", b"d"]
        group.attrs["keras_version"] = b"2.9.0"
        group.create_group("f").attrs["weight_names"] = np.array([], "S1")
        dense = group.create_group("d")
        dense.attrs["weight_names"] = [b"d/kernel:0", b"d/bias:0"]
        dense["d/kernel:0"] = kernel
        dense["d/bias:0"] = np.zeros(1, "f4")
    loaded = load_model(path)
    np.testing.assert_array_equal(loaded.model.get_weights()[0], kernel)
