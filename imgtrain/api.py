"""The public functions: the workflows, with their progress shown in terminals and notebooks.

Names and options are those of the command line. Every function that takes long accepts:

- `progress`: whether to show progress, warnings and scores. By default they are shown if Python is used interactively:
  in a notebook, or if standard output is a terminal.
- `on_event`: a function that is called with every event, shown or not: `Progress`, `EpochEnded`, `Message` and the
  others of `imgtrain.events`. Exceptions that it raises end the function.

TensorFlow is imported by the functions that need it when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtrain.events import Emit, Event, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_EXPORT_LOSS, MAX_MODEL_GIB

if TYPE_CHECKING:
    from PIL import Image

    from imgtrain.audit.result import AuditReport
    from imgtrain.cli.display import Display
    from imgtrain.config.schema import Config
    from imgtrain.dataset.plan import Plan
    from imgtrain.evaluation.compare import Comparison
    from imgtrain.evaluation.predict_result import PredictResult
    from imgtrain.export.request import InputType, Quantization
    from imgtrain.run.exported_model import ExportFormat
    from imgtrain.training.history import History
    from imgtrain.workflows.evaluate import EvaluateResult
    from imgtrain.workflows.export import ExportResult
    from imgtrain.workflows.library import OpenBatches
    from imgtrain.workflows.train import TrainResult

__all__ = [
    "build_model",
    "check",
    "compare",
    "evaluate",
    "export_model",
    "fit",
    "open_batches",
    "predict",
    "preview",
    "train",
    "write_preview",
    "write_report",
]


def check(
    source: Path | str,
    overrides: Sequence[str] = (),
    *,
    fix_split: Path | str | None = None,
    sheet: Path | str | None = None,
    timing: bool = True,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> AuditReport:
    """Audit a configuration and its data, or a folder of images, as `imgtrain check` does.

    Args:
        source: A configuration file, or a folder of images as for `imgtrain init`.
        overrides: As in `load_config`; only with a configuration.
        fix_split: Where to write a split file without leaks, for `data.split_file`.
        sheet: Where to write an image of duplicates and bad files; ends in .png.
        timing: Whether to time a few training steps, in a separate process with TensorFlow, if there is no error.
        progress: Whether to show progress and findings; by default, if Python is used interactively.
        on_event: Called with every event.

    Returns:
        The findings. A folder without a data set is reported as a finding.

    Raises:
        ConfigError: The configuration cannot be read, or an option is invalid.
        RunFileError: A file or the cache cannot be written.
    """
    from imgtrain.workflows.check import check as check_source

    with _showing(progress, on_event) as (emit, display):
        report = check_source(
            source,
            overrides,
            fix_split=None if fix_split is None else Path(fix_split),
            sheet=None if sheet is None else Path(sheet),
            timing=timing,
            emit=emit,
        )
        display.show_report(report)
    return report


def train(
    plan: Plan,
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    start_from: Path | str | None = None,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> TrainResult:
    """Train, evaluate and save a model, as `imgtrain train` does.

    Args:
        plan: A plan, as returned by `make_plan`.
        overwrite: Replace an existing run in the same directory.
        resume: Resume the run in the same directory, if there is one.
        dry_run: Check the configuration and build the model, without decoding images, training or writing files.
        start_from: A run directory or model file whose weights a new run starts with.
        progress: Whether to show progress and scores; by default, if Python is used interactively.
        on_event: Called with every event, for example `EpochEnded`, whose `logs` are the metrics of an epoch.

    Raises:
        ConfigError: The layers are incompatible, or the run to resume has a different configuration. Nothing is
            written.
        DataError: The images are invalid, or differ from those of the run to resume.
        RunFileError: The run directory already exists, or a file cannot be written.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: Ctrl-C, "interrupt the kernel" or SIGTERM was received; a checkpoint is written.
        TypeError: `plan` is something else, such as a configuration.
    """
    from imgtrain.workflows.train import train as train_plan

    _check_is_plan(plan)
    with _showing(progress, on_event) as (emit, display):
        result = train_plan(
            plan, overwrite=overwrite, resume=resume, dry_run=dry_run, start_from=start_from, emit=emit
        )
        display.show_result(result)
    return result


def evaluate(
    model: Path | str,
    *,
    data: Path | str | None = None,
    output: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> EvaluateResult:
    """Score a saved model on a folder of images, as `imgtrain evaluate` does.

    Args:
        model: A `.keras` or `.h5` file, a run directory, or an exported model.
        data: A folder with one subfolder per class; default: the test folder that the model was trained with.
        output: A folder for `metrics.json`, `predictions.csv` and `report.html`.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        overwrite: Replace an earlier evaluation in `output`.
        progress: Whether to show progress and scores; by default, if Python is used interactively.
        on_event: Called with every event.

    Raises:
        ConfigError: How to read the images is not specified, or specified twice.
        DataError: The images are invalid, or their folders do not match the model's classes.
        RunFileError: The model cannot be loaded, or the output already exists or cannot be written.
    """
    from imgtrain.workflows.evaluate import evaluate as evaluate_model

    with _showing(progress, on_event) as (emit, display):
        result = evaluate_model(
            model,
            data=data,
            output=output,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes),
            overwrite=overwrite,
            emit=emit,
        )
        display.show_evaluation(result)
    return result


def predict(
    model: Path | str,
    paths: Path | str | Iterable[Path | str],
    *,
    output: Path | str | None = None,
    top: int | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> PredictResult:
    """Classify files, as `imgtrain predict` does, and return the predictions.

    Args:
        model: A model saved or exported by imgtrain, or a run directory.
        paths: Files, folders and glob patterns; or one of them.
        output: A `.csv`, `.json` or `.jsonl` file to write.
        top: Number of most probable classes to write to `output`; None writes all.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        resume: Continue an interrupted prediction after its last complete row, if there is one.
        overwrite: Replace the output if it exists.
        progress: Whether to show progress; by default, if Python is used interactively.
        on_event: Called with every event.

    Returns:
        The predictions, as arrays (`probabilities`, …), as a table, and with `to_pandas()`. Files that cannot be
        decoded are in `unreadable`.

    Raises:
        ConfigError: The output's suffix is not supported, the model was not saved by imgtrain, or the interrupted
            prediction used a different model or different files.
        DataError: There are no files to classify.
        RunFileError: The model cannot be loaded, or the output already exists or cannot be written.
        InterruptedRunError: Ctrl-C while writing an output file.
    """
    from imgtrain.workflows.predict import predict as predict_files

    with _showing(progress, on_event) as (emit, _):
        return predict_files(
            model,
            [paths] if isinstance(paths, Path | str) else paths,
            output=output,
            top=top,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            resume=resume,
            overwrite=overwrite,
            keep=True,
            emit=emit,
        )


def compare(
    a: Path | str,
    b: Path | str,
    *,
    data: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: Sequence[str] | None = None,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> Comparison:
    """Test whether B is significantly better than A on the same images, as `imgtrain compare` does.

    Args:
        a: A run directory; with `data` also a model file.
        b: The run directory or model file to compare with A.
        data: A folder with one subfolder per class to compare the models on; default: the test images of both runs,
            or else their validation images.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of a model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        progress: Whether to show progress and the comparison; by default, if Python is used interactively.
        on_event: Called with every event.

    Raises:
        ConfigError: How to read the images is not specified, or specified for nothing.
        DataError: The images are invalid, or not the same for both.
        RunFileError: A run or model is missing or damaged.
    """
    from imgtrain.workflows.compare import compare as compare_models

    with _showing(progress, on_event) as (emit, display):
        comparison = compare_models(
            a,
            b,
            data=data,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes),
            emit=emit,
        )
        display.show_comparison(comparison)
    return comparison


def export_model(
    model: Path | str,
    *,
    format: ExportFormat,
    output: Path | str | None = None,
    quantize: Quantization = "none",
    data: Path | str | None = None,
    max_loss: float = MAX_EXPORT_LOSS,
    input_type: InputType = "float32",
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> ExportResult:
    """Export a model if the result agrees with the Keras model, as `imgtrain export` does.

    Args:
        model: A `.keras` or `.h5` file, or a run directory.
        format: Format of the exported model.
        output: The file, or the folder of a SavedModel; default: next to the model.
        quantize: `none`; `float16` or `dynamic` (int8) for the weights; `int8` for weights and activations.
        data: Images to compare both models on, one subfolder per class; default: the test images of the run, or else
            its validation images.
        max_loss: With quantization: the loss of accuracy, in percentage points, that its 95 % interval may reach.
        input_type: ONNX: type of the images.
        batch_size: Number of images per batch in the comparison.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        overwrite: Replace an existing output.
        progress: Whether to show progress and figures; by default, if Python is used interactively.
        on_event: Called with every event.

    Raises:
        ConfigError: The format is not available, or the images are unknown.
        DataError: The images are invalid, or the exported model doesn't agree with the Keras model.
        RunFileError: The model cannot be loaded or converted, or the output exists or cannot be written.
    """
    from imgtrain.workflows.export import export_model as export

    with _showing(progress, on_event) as (emit, display):
        result = export(
            model,
            format=format,
            output=output,
            quantize=quantize,
            data=data,
            max_loss=max_loss,
            input_type=input_type,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes),
            overwrite=overwrite,
            emit=emit,
        )
        display.show_export(result)
    return result


def preview(
    config: Config,
    *,
    count: int = 8,
    images: int = 6,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> Image.Image:
    """Return a contact sheet of augmented training images, which notebooks show.

    Args:
        config: A configuration, as returned by `load_config`.
        count: Number of augmented versions per image.
        images: Number of images.
        progress: Whether to show warnings; by default, if Python is used interactively.
        on_event: Called with a warning for every file that cannot be decoded.

    Raises:
        DataError: The folders are invalid, or none of the files can be decoded.
    """
    from imgtrain.workflows.preview import draw_preview

    with _showing(progress, on_event) as (emit, _):
        return draw_preview(config, count=count, images=images, emit=emit)


def write_preview(
    config: Config,
    *,
    output: Path | str | None = None,
    count: int = 8,
    images: int | None = None,
    each: bool = False,
    class_name: str | None = None,
    data: Path | str | None = None,
    originals: bool = True,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> Path:
    """Write augmented training images, as `imgtrain preview-aug` does.

    Args:
        config: A configuration, as returned by `load_config`.
        output: The image file or, with `each`, the folder; None for `preview-aug.png` or `preview-aug`.
        count: Number of augmented versions per image.
        images: Number of images; by default 6, or all with `each` and `class_name` or `data`.
        each: Write one PNG file per version instead of a contact sheet.
        class_name: Only use images of this class.
        data: A folder of class folders, or of images of one class, to use instead of the training images.
        originals: With `each`, whether to write the images without augmentation, too.
        progress: Whether to show warnings; by default, if Python is used interactively.
        on_event: Called with a warning for every file that cannot be decoded.

    Returns:
        The path of the file or folder written.

    Raises:
        ConfigError: The suffix of `output` is not a supported image format, or the class is unknown.
        DataError: The folders are invalid, or none of the files can be decoded.
        RunFileError: `output` cannot be written.
    """
    from imgtrain.workflows.preview import write_preview as write

    with _showing(progress, on_event) as (emit, _):
        return write(
            config,
            output=None if output is None else Path(output),
            count=count,
            images=images,
            each=each,
            class_name=class_name,
            folder=None if data is None else Path(data),
            originals=originals,
            emit=emit,
        )


def write_report(directory: Path | str, *, progress: bool | None = None, on_event: Emit = ignore) -> Path:
    """Write `report.html` of a finished run or evaluation again, as `imgtrain report` does.

    Args:
        directory: A run directory, or the output folder of an evaluation.
        progress: Whether to show warnings; by default, if Python is used interactively.
        on_event: Called with a warning for content that is unavailable, such as deleted images.

    Returns:
        The path of the report.

    Raises:
        RunFileError: The directory does not contain scores, or a file in it is damaged.
    """
    from imgtrain.workflows.report import write_report as write

    with _showing(progress, on_event) as (emit, _):
        return write(directory, emit=emit)


def open_batches(plan: Plan, *, progress: bool | None = None, on_event: Emit = ignore) -> OpenBatches:
    """Decode the images of a plan, and return the batches of every split as `keras.utils.PyDataset`s.

    Args:
        plan: A plan, as returned by `make_plan`.
        progress: Whether to show progress; by default, if Python is used interactively.
        on_event: Called with every event.

    Raises:
        DataError: The images are invalid.
        RunFileError: The cache cannot be written.
        TypeError: `plan` is something else, such as a configuration.
    """
    from imgtrain.workflows.library import open_batches as open_plan

    _check_is_plan(plan)
    with _showing(progress, on_event) as (emit, _):
        return open_plan(plan, emit=emit)


def build_model(batches: OpenBatches) -> Any:
    """Return the planned model as a compiled, newly initialized `keras.Sequential` in float32.

    Args:
        batches: Batches, as returned by `open_batches`; featurewise preprocessing is fitted on the training images.

    Raises:
        ConfigError: A layer or the optimizer does not accept its arguments or its input.
    """
    from imgtrain.workflows.library import build_model as build

    return build(batches)


def fit(
    model: Any,
    train: Any,
    validation: Any = None,
    *,
    config: Config | None = None,
    progress: bool | None = None,
    on_event: Emit = ignore,
) -> History:
    """Train a compiled model on data sets of your own, and restore the weights of the best epoch.

    Every batch is checked: its shapes against the model, its labels against the number of classes and the loss.

    Args:
        model: A compiled Keras model with one input and one output, such as the result of `build_model`.
        train: A `keras.utils.PyDataset`, or a batched `tf.data.Dataset`, of (images, labels) or (images, labels,
            weights). Images are as the model takes them; models of `build_model` take raw pixels, 0–255.
        validation: As `train`; None for none.
        config: `epochs`, `steps_per_epoch`, `validation_steps`, `schedule`, `early_stopping` and
            `reduce_lr_on_plateau` of its section `training` are used; None uses their defaults.
        progress: Whether to show progress; by default, if Python is used interactively.
        on_event: Called with every event.

    Returns:
        The metrics of all epochs. The model itself is trained.

    Raises:
        ConfigError: The model is not compiled, or the number of batches is unknown.
        DataError: A batch doesn't fit the model, or the classes of the data sets differ.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: Ctrl-C, "interrupt the kernel" or SIGTERM was received.
    """
    from imgtrain.config.schema import TrainingConfig
    from imgtrain.workflows.library import fit as fit_model

    with _showing(progress, on_event) as (emit, _):
        training = TrainingConfig() if config is None else config.training
        return fit_model(model, train, validation, training, emit=emit)


def _check_is_plan(plan: object) -> None:
    from imgtrain.dataset.plan import Plan

    if not isinstance(plan, Plan):
        raise TypeError(
            f"plan must be a Plan, got {type(plan).__name__}; use "
            'imgtrain.make_plan(imgtrain.load_config("config.yaml"))'
        )


@contextmanager
def _showing(progress: bool | None, on_event: Emit) -> Iterator[tuple[Emit, Display]]:
    """Yield a function that shows events and passes them on, and the display, which may be invisible."""
    from imgtrain.cli.display import Display, is_interactive

    shown = is_interactive() if progress is None else progress
    with Display(screen=shown) as display:

        def emit(event: Event) -> None:
            display.show(event)
            on_event(event)

        yield emit, display
