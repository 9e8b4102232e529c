"""Few-shot images: what an episode holds, what is refused, where the characters come from."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from cases import EXACT, gen
from conforming import tiny_images
from PIL import Image
from torch.testing import assert_close

import metasgd_core
from metasgd_core import adapt, characters, init_theta, per_task, predict
from metasgd_core.characters import (
    BACKGROUND,
    EVALUATION,
    EVALUATION_SCRIPTS,
    VALIDATION,
    VALIDATION_SCRIPTS,
    VARIABLE,
    glyphs,
    omniglot,
    written,
)
from metasgd_core.models import ConvNet
from metasgd_core.tasks.images import Images, crop_to_ink, score_alone
from metasgd_core.types import take

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))  # tools are scripts

import omniglot_gpu


def numbered(characters=7, drawings=5, size=4, **settings):
    """Return a family whose images say which they are: 100 x the character + the drawing."""
    number = 100 * torch.arange(characters)[:, None] + torch.arange(drawings)
    images = number[..., None, None].double().expand(-1, -1, size, size)
    return Images(ConvNet(3, filters=1, size=size).double(), images, 3, **settings)


# ---- episodes


def test_an_episode_is_balanced_and_holds_no_drawing_twice():
    """Every shot is one drawing of each class, in the classes' order; labels fit the drawings."""
    family = numbered()
    tasks = family.sample_tasks(2, 40, generator=gen())
    x, y = family.sample_data(tasks, None, 5, generator=gen(1))
    assert x.shape == (2, 40, 5, 3, 1, 4, 4)
    assert_close(y, torch.arange(3).expand(2, 40, 5, 3), **EXACT)
    number = x[..., 0, 0, 0].long()
    assert_close(number // 100, tasks.character.unsqueeze(-2).expand_as(number), **EXACT)
    drawings = (number % 100).sort(dim=-2).values
    assert_close(drawings, torch.arange(5)[:, None].expand_as(drawings), **EXACT)
    assert (tasks.character.sort(-1).values.diff(dim=-1) > 0).all()
    assert len(tasks.character.unique()) == 7
    assert len(torch.unique(number[0, :, 0, 0])) > 10  # drawings are shuffled anew in each task


def test_an_episode_is_the_generators_alone():
    family = numbered()
    for seed, same in ((1, True), (2, False)):
        drawn = [family.sample_data(family.sample_tasks(3, generator=g), None, 2, generator=g)
                 for g in (gen(1), gen(seed))]
        assert torch.equal(drawn[0].x, drawn[1].x) is same


def test_a_quarter_turn_makes_a_class_of_its_own_and_turns_all_of_its_drawings():
    images = torch.rand(6, 4, 5, 5, generator=gen())
    family = Images(ConvNet(3, 1, 5), images, 3, turns=4)
    tasks = family.sample_tasks(60, generator=gen())
    assert tasks.turn.unique().tolist() == [0, 1, 2, 3]
    assert (tasks.character.sort(-1).values.diff(dim=-1) > 0).all()  # never one in two turns
    x, _ = family.sample_data(tasks, None, 4, generator=gen())
    for task in range(10):
        for way in range(3):
            drawn = {tuple(image.flatten().tolist()) for image in x[task, :, way]}
            whole = images[tasks.character[task, way]].rot90(int(tasks.turn[task, way]), (-2, -1))
            assert drawn == {tuple(image.flatten().tolist()) for image in whole}


@pytest.mark.parametrize(
    ("images", "brightest"),
    [(torch.ones(3, 2, 4, 4).bool(), 1.0), (torch.full((3, 2, 4, 4), 51).byte(), 0.2),
     (torch.full((3, 2, 4, 4), 7.0), 7.0)],
    ids=["ink", "grey", "as it is"],
)
def test_pixels_arrive_in_the_models_dtype(images, brightest):
    family = Images(ConvNet(3, 1, 4).double(), images, 3)
    x, _ = family.sample_data(family.sample_tasks(1, generator=gen()), None, 1, generator=gen())
    assert x.dtype == torch.float64
    assert_close(x.max().item(), brightest)


def test_alone_means_with_the_support_and_no_other_query():
    """Task by task and query by query, after an adaptation; with layer norm it changes nothing."""
    for norm in ("batch", "layer"):
        family = tiny_images(norm, filters=4)
        data = family.sample_data(family.sample_tasks(3, generator=gen(1)), None, 5,
                                  generator=gen(2))
        support, query = take(data, 1, 0, 2), take(data, 1, 2, 3)
        theta = per_task(init_theta(family.model, generator=gen()), (3,))
        phi = adapt(family.loss, theta, 0.4, support, steps=3)
        expected = []
        for task in range(3):
            mine, right = {n: p[task] for n, p in phi.items()}, []
            for image, y in zip(query.x[task].flatten(0, 1), query.y[task].flatten()):
                company = torch.cat([support.x[task].flatten(0, 1), image[None]])
                right.append(predict(family.model, mine, company)[-1].argmax() == y)
            expected.append(torch.stack(right).double().mean())
        alone = score_alone(family, phi, support, query)
        assert_close(alone, torch.stack(expected))
        if norm == "layer":
            assert_close(alone, family.score(phi, query))


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"images": torch.zeros(3, 4, 4)}, r"axes \(characters, drawings, height, width\)"),
     ({"images": torch.zeros(0, 2, 4, 4)}, r"got the shape \(0, 2, 4, 4\)"),
     ({"images": torch.zeros(3, 2, 4, 4).long()}, "bool, uint8 or floating point, got torch.int64"),
     ({"images": torch.ones(3, 2, 4, 4).byte()}, r"if 1 means ink, give images\.bool\(\)"),
     ({"images": torch.full((3, 2, 4, 4), torch.nan)}, "96 pixels that are NaN or infinite"),
     ({"ways": 4}, "there are 3 characters, and a task of 4 ways needs as many"),
     ({"ways": 1}, "ways must be a whole number of at least 2"),
     ({"turns": 2}, "turns must be 1, or 4 where images are square, got 2"),
     ({"images": torch.zeros(3, 2, 4, 5), "turns": 4}, "got 4 for images of 4 x 5")],
)
def test_images_that_make_no_tasks_are_refused_in_one_sentence(changes, said):
    given = {"images": torch.zeros(3, 2, 4, 4), "ways": 3} | changes
    with pytest.raises(ValueError, match=said) as refused:
        Images(ConvNet(3, 1, 4), **given)
    assert "\n" not in str(refused.value)


def test_too_few_drawings_and_a_network_for_another_size_are_said():
    family = numbered()
    tasks = family.sample_tasks(2, generator=gen())
    with pytest.raises(ValueError, match="there are 5 drawings of a character, and 6 are asked"):
        family.sample_data(tasks, None, 6, generator=gen())
    with pytest.raises(ValueError, match="shots must be a whole number"):
        family.sample_data(tasks, None, 0, generator=gen())
    with pytest.raises(ValueError, match="the number of tasks must be a whole number"):
        family.sample_tasks(0, generator=gen())
    model = ConvNet(3, 1, 28).double()
    other = Images(model, family.images, 3)
    data = other.sample_data(tasks, None, 2, generator=gen())
    with pytest.raises(ValueError, match=r"takes \(\.\.\., points, 1, 28, 28\): resize"):
        other.loss(per_task(init_theta(model, generator=gen()), (2,)), data)


# ---- the ink box


def drawn(top, left, height, width, size=28):
    image = torch.zeros(size, size, dtype=torch.bool)
    image[top : top + height, left : left + width] = True
    return image


def test_what_is_cropped_to_its_ink_keeps_neither_place_nor_size():
    places = torch.stack([drawn(2, 3, 12, 6), drawn(15, 20, 12, 6), drawn(0, 0, 24, 12)])
    boxed = crop_to_ink(places)
    assert_close(boxed, drawn(2, 8, 24, 12).expand_as(boxed), **EXACT)
    assert_close(crop_to_ink(boxed), boxed, **EXACT)
    assert_close(crop_to_ink(places.view(3, 1, 28, 28)).view_as(boxed), boxed, **EXACT)


def test_a_dot_stays_a_dot_and_an_empty_image_stays_empty():
    dot = crop_to_ink(drawn(3, 20, 2, 2)[None])[0]
    assert 30 < dot.sum() < 50  # three times as long and high, not twelve
    assert dot[13:15, 13:15].all()
    assert not crop_to_ink(torch.zeros(1, 28, 28).bool()).any()
    with pytest.raises(ValueError, match=r"needs images of bool, True for ink, got torch\.float32"):
        crop_to_ink(torch.zeros(1, 28, 28))


# ---- Omniglot


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Return a file like Omniglot's, in which each character's number stands in its pixels."""
    bits = torch.arange(1623)[:, None] >> torch.arange(784) % 16 & 1
    packed = np.packbits(bits.numpy().astype(np.uint8), axis=1).repeat(20, axis=0)
    path = tmp_path / "omniglot-28.npz"
    np.savez_compressed(path, a=packed)
    monkeypatch.setenv(VARIABLE, str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(metasgd_core.characters, "SHA256", digest)
    return path


def numbers(images):
    """Read the numbers that `stored` wrote."""
    return (images[:, 0].flatten(1)[:, :16].long() << torch.arange(16)).sum(-1)


def test_whole_alphabets_are_held_out(stored):
    split = omniglot()
    assert [len(part.images) for part in split] == [806, 158, 659]
    assert {part.images.shape[1:] for part in split} == {(20, 28, 28)}
    assert {part.images.dtype for part in split} == {torch.bool}
    names = [set(part.alphabet) for part in split]
    assert names == [set(BACKGROUND) - set(VALIDATION), set(VALIDATION), set(EVALUATION)]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    assert numbers(split.evaluation.images).tolist() == list(range(964, 1623))
    # The third alphabet of validation begins after the 17 before it.
    before = sum(list(BACKGROUND.values())[:17])
    first = split.validation.alphabet.index(VALIDATION[2])
    assert numbers(split.validation.images)[first] == before
    angelic = split.evaluation.of(["Angelic"])
    assert numbers(angelic.images).tolist() == list(range(964, 984))
    assert set(angelic.alphabet) == {"Angelic"}


def test_a_file_that_is_damaged_or_missing_is_refused_in_one_sentence(stored, monkeypatch):
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or another file: its SHA-256 begins") as error:
        omniglot()
    assert "\n" not in str(error.value)
    stored.unlink()
    with pytest.raises(RuntimeError, match=f"{VARIABLE} names .*, and there is no such file"):
        omniglot()


def test_without_a_file_and_torchvision_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(RuntimeError, match=r"Omniglot is not here \(.*torchvision.*\): install "
                                           r"torchvision .* or name a file in METASGD") as error:
        omniglot()
    assert "\n" not in str(error.value)


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """Put a torchvision in place whose Omniglot has two characters a half, and no network."""
    monkeypatch.delenv(VARIABLE, raising=False)
    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)

    def downloaded(root, background, download):
        assert download
        if Path(root) != tmp_path:
            raise OSError("Network is unreachable\nand more")
        folder = tmp_path / ("images_background" if background else "images_evaluation")
        for i, character in enumerate(["Zulu/character01", "Alpha/character02"]):
            (folder / character).mkdir(parents=True)
            for drawer in range(20):
                image = Image.new("1", (105, 105), 1)
                ink = 40 * i + 20 * (not background)  # a black bar, its place says whose it is
                image.paste(0, (ink, 2 * drawer, ink + 15, 2 * drawer + 15))
                image.save(folder / character / f"{7 - 5 * i:04}_{drawer + 1:02}.png")
        return SimpleNamespace(target_folder=str(folder))

    datasets.Omniglot = downloaded
    return tmp_path


def test_torchvisions_images_are_sorted_shrunk_and_inked(torchvision, monkeypatch):
    """By alphabet, character and drawer, whatever the disk's order; True where it was black."""
    monkeypatch.setattr(metasgd_core.characters, "BACKGROUND", {"Alpha": 1, "Zulu": 1})
    monkeypatch.setattr(metasgd_core.characters, "EVALUATION", {"Alphb": 1, "Zulv": 1})
    monkeypatch.setattr(metasgd_core.characters, "VALIDATION", ("Zulu",))
    split = omniglot(torchvision)
    images = torch.cat([part.images for part in split])
    assert images.shape == (4, 20, 28, 28)
    assert ((images.sum((2, 3)) - 16).abs() <= 4).all()  # 15 x 15 of 105 x 105
    column = images.any(-2).float().argmax(-1)[:, 0]
    assert column.tolist() == [11, 0, 16, 5]  # 40, 0, 60 and 20 of 105
    assert (images.any(-1).float().argmax(-1).diff(dim=1) >= 0).all()  # drawer by drawer


def test_no_network_is_said_in_one_sentence(torchvision):
    with pytest.raises(RuntimeError, match=r"not here \(Network is unreachable\): install") as e:
        omniglot(torchvision / "elsewhere")
    assert "\n" not in str(e.value)


# ---- glyphs


def test_glyphs_are_many_distinct_and_held_out_by_script():
    split = glyphs(2)
    assert len(split.training.images) > 600
    assert len(split.validation.images) > 40
    assert len(split.evaluation.images) > 200
    assert set(split.evaluation.alphabet) == set(EVALUATION_SCRIPTS)
    assert set(split.validation.alphabet) == set(VALIDATION_SCRIPTS)
    assert not set(split.training.alphabet) & {*EVALUATION_SCRIPTS, *VALIDATION_SCRIPTS}
    for part in split:
        assert part.images.shape[1:] == (2, 28, 28)
        assert part.images.any(-1).any(-1).all()
        assert (part.images[:, 0] != part.images[:, 1]).any(-1).any(-1).all()
        assert len(torch.unique(part.images.flatten(0, 1).flatten(1), dim=0)) == 2 * len(
            part.images)  # fmt: skip


def test_glyphs_are_the_same_each_time_and_others_with_another_seed():
    """Drawn anew, not remembered; the amount of ink is what it was when the page was written."""
    first, again, other = (glyphs.__wrapped__(2, seed) for seed in (0, 0, 1))
    for mine, same, changed in zip(first, again, other):
        assert_close(mine.images, same.images, **EXACT)
        assert mine.alphabet == same.alphabet == changed.alphabet
        assert not torch.equal(mine.images, changed.images)
    ink = [part.images.float().mean().item() for part in first]
    assert_close(ink, [0.132, 0.145, 0.161], rtol=0.02, atol=0)
    assert glyphs(2) is glyphs(2)


def test_a_pen_follows_the_glyphs_lines():
    """The same characters and scripts, in less ink, whose lines are as wide as the pen is."""
    split, printed = written(2), glyphs(2)
    for mine, its in zip(split, printed):
        assert mine.alphabet == its.alphabet
        assert mine.images.shape == its.images.shape
        assert mine.images.any(-1).any(-1).all()
        assert (mine.images[:, 0] != mine.images[:, 1]).any(-1).any(-1).all()
        assert mine.images.float().mean() < 0.8 * its.images.float().mean()
    ink = [part.images.float().mean().item() for part in split]
    assert_close(ink, [0.092, 0.099, 0.103], rtol=0.05, atol=0)
    assert not torch.equal(written.__wrapped__(2, 1).training.images, split.training.images)


def test_a_glyph_is_thinned_to_a_line_in_one_piece():
    """A thick L becomes a thin one with two ends; a ring stays a ring; a dot stays."""
    ink = torch.zeros(3, 20, 20, dtype=torch.bool)
    ink[0, 2:18, 2:6], ink[0, 14:18, 2:18] = True, True
    ink[1, 3:17, 3:17], ink[1, 7:13, 7:13] = True, False
    ink[2, 9, 9] = True
    thin = characters._thinned(ink)
    assert not (thin & ~ink).any()
    assert thin[2].equal(ink[2])
    around = torch.nn.functional.conv2d(thin[:, None].double(), torch.ones(1, 1, 3, 3).double(),
                                        padding=1)[:, 0] - 1  # fmt: skip
    assert (thin[0] & (around[0] == 1)).sum() == 2, "two ends"
    assert 20 <= thin[0].sum() <= 30
    assert (around[1][thin[1]] >= 2).all(), "no end"
    assert not thin[1, 7:13, 7:13].any()
    far = characters._distances(thin)
    assert (far == 0).equal(thin)
    assert far[2, 9, 12] == 3


# ---- the tool


def test_the_gpu_tool_trains_tests_and_stores(tmp_path, monkeypatch):
    """On the CPU, with a tiny network: what cannot be tried often on a GPU works at once there."""
    bars = Images(ConvNet(3, 1, 4), torch.rand(12, 20, 28, 28, generator=gen()) > 0.9, 3).images
    part = SimpleNamespace(images=bars)
    monkeypatch.setattr(omniglot_gpu, "omniglot", lambda: SimpleNamespace(
        training=part, validation=part, evaluation=part))
    monkeypatch.setattr(omniglot_gpu, "TASKS", 2)
    monkeypatch.setattr(omniglot_gpu, "say", lambda line: None)
    speed, out = tmp_path / "bench.json", tmp_path / "out.json"
    speed.write_text('{"meta-step, ms": {"eager, 2 tasks": 1e6}}')
    omniglot_gpu.run(omniglot_gpu.parsed(["--speed", str(speed), "--seconds", "999", "--out",
                                          str(out)]), "cpu", filters=2, episodes=4)
    report = omniglot_gpu.json.loads(out.read_text())
    assert report["iterations"] == report["iterations planned"] == 20
    accuracy = report["accuracy and its 95 % interval over episodes"]
    assert len(accuracy) == 6
    assert all(0 <= mean <= 1 and half > 0 for mean, half in accuracy.values())
    assert out.with_suffix(".safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_the_gpu_tool_says_that_it_needs_one(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["omniglot_gpu.py", "--out", "x.json"])
    with pytest.raises(SystemExit, match="needs a CUDA device: none is here"):
        omniglot_gpu.main()
