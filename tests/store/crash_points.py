"""A process that dies before its k-th file operation, for every k; started by `test_crash_points.py`.

    python -m tests.store.crash_points SAVE LOSS FOLDER

SAVE is what is done (see SAVES), LOSS what is lost with the process: nothing, the data that were not synced, or also
the names that were not. It prints the operations of one save, in their order, and fails at the first k after which
the folder holds neither the old nor the new. It never imports torch.
"""

import io
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save, save_file

from ticketcli.cli.verify import problems_of
from ticketcli.store import codec
from ticketcli.store.codec import GATES_KIND, read_mask, write_mask
from ticketcli.store.generations import Generations
from ticketcli.store.host import is_temporary
from ticketcli.store.leftovers import state_problem
from ticketcli.store.manifest import Artifact, FileRecord, Manifest, UnitRecord, read_manifest, write_manifest
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run
from ticketcli.store.tensorfile import read_header, write_tensors

REAL = {
    name: getattr(os, name)
    for name in ("open", "fsync", "replace", "rename", "unlink", "link", "mkdir", "rmdir", "chmod")
}
REAL_OPEN = io.open
NOTHING, DATA, NAMES = "nothing", "data", "names"


class Disk:
    """Counts what is done to files, and ends the process before the k-th of it."""

    def __init__(self, folder: Path, loss: str, last: int | None) -> None:
        self.folder, self.loss, self.last = folder, loss, last
        self.said: list[str] = []
        self.unsynced: set[int] = set()  # inodes with data that may be lost
        self.undo: list[
            tuple[int, list[tuple[str, str]]]
        ] = []  # folder's inode, (from, to) that undo a change of names
        self.attic = folder.parent / "attic"

    def point(self, what: str) -> None:
        if len(self.said) == self.last:
            if self.loss in (DATA, NAMES):
                self._lose()
            os.kill(os.getpid(), signal.SIGKILL)
        self.said.append(what)

    def _lose(self) -> None:
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unsynced:
                os.truncate(path, path.stat().st_size // 2)
        if self.loss == NAMES:
            for _, steps in reversed(self.undo):
                for source, target in steps:
                    REAL["rename"](source, target)

    def _keep(self, path) -> str | None:
        """A second name for a file that is about to go, so that its going can be undone."""
        if not Path(path).is_file():
            return None
        self.attic.mkdir(exist_ok=True)
        kept = str(self.attic / str(len(self.said)))
        REAL["link"](path, kept)
        return kept

    def install(self) -> None:
        """Stand between Python and the operating system."""

        def opened(path, mode="r", *more, **named):
            if set(mode) & set("wax+"):
                self.point(f"open {mode} {Path(path).name}")
                return Written(REAL_OPEN(path, mode, *more, **named), self)
            return REAL_OPEN(path, mode, *more, **named)

        def fsync(descriptor):
            self.point("fsync")
            REAL["fsync"](descriptor)
            inode = os.fstat(descriptor).st_ino
            self.unsynced.discard(inode)
            self.undo = [one for one in self.undo if one[0] != inode]

        def replace(source, target, **_):
            self.point(f"rename to {Path(target).name}")
            kept = self._keep(target)
            REAL["replace"](source, target)
            back = [(str(target), str(source))] + ([(kept, str(target))] if kept else [])
            self.undo.append((Path(target).parent.stat().st_ino, back))

        def unlink(path, **_):
            self.point(f"unlink {Path(path).name}")
            kept = self._keep(path)
            REAL["unlink"](path)
            self.undo.append((Path(path).parent.stat().st_ino, [(kept, str(path))] if kept else []))

        def plain(name):
            def act(*arguments, **named):
                self.point(name)
                return REAL[name](*arguments, **named)

            return act

        io.open = opened
        os.fsync, os.replace, os.rename, os.unlink = fsync, replace, replace, unlink
        os.link, os.mkdir, os.rmdir, os.chmod = map(plain, ("link", "mkdir", "rmdir", "chmod"))
        codec.save_file = in_python


class Written:
    """A file that is written in two halves, so that a process can die between them."""

    def __init__(self, file, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def write(self, data):
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            self.disk.point("write")
            self.file.write(piece)
            self.file.flush()
            self.disk.unsynced.add(os.fstat(self.file.fileno()).st_ino)
        return len(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def in_python(tensors, path, metadata):
    """What the library writes, written where it can be watched."""
    with Path(path).open("wb") as file:
        file.write(save(tensors, metadata=metadata))


# ------------------------------------------------------------------ what is saved

STEP = "ours"
GATES = "images.gates.safetensors"


def mask(number: int) -> Mask:
    return Mask({"w": np.arange(400).reshape(20, 20) % (number + 1) == 0})


def unit(folder: Path, number: int) -> UnitRecord:
    path = folder / f"round-{number:02d}.mask.safetensors"
    write_mask(path, mask(number), {"round": number})
    file = FileRecord.of(path, base=folder)
    output = Artifact(name=str(number), kind="ticket", files={"mask": file}, about={})
    return UnitRecord(key="k", outputs=(output,), metrics={}, seconds=1.0, finished="", environment={})


def manifest(units: dict[str, UnitRecord]) -> Manifest:
    return Manifest(
        step=STEP, stage="prune", stage_version=1, code_version="0", config={}, config_digest="", inputs={}, units=units,
        status="partial",
    )  # fmt: skip


def write_state(path: Path, number: int) -> None:
    arrays = {"w": np.full(300, number, np.float32)}
    write_tensors(
        path, lambda to, metadata: in_python(arrays, to, metadata), kind="state", about={"number": number},
        check=lambda temporary: read_header(temporary) and None,
    )  # fmt: skip


def begin(run: Run) -> None:
    """A run with one finished round, a mask that an earlier crash left, and two saved states."""
    folder = run.step_folder(STEP)
    (folder / "state").mkdir(parents=True)
    write_manifest(folder, manifest({"round-01": unit(folder, 1)}))
    write_mask(folder / "round-02.mask.safetensors", mask(5), {"round": 2})
    write_mask(folder / GATES, mask(6), {"order": ["w"]}, kind=GATES_KIND)
    for number in (1, 2):
        Generations(folder / "state", "round-02").commit(lambda path, number=number: write_state(path, number))
    run.save_recipe("old", source="r", overrides=[], drops=[])


def commit(run: Run) -> None:
    """The next round's mask, then the manifest."""
    folder = run.step_folder(STEP)
    units = read_manifest(folder).units
    write_manifest(folder, manifest({**units, "round-02": unit(folder, 2)}))


def rotate(run: Run) -> None:
    """A third state, then the first goes."""
    generations = Generations(run.step_folder(STEP) / "state", "round-02")
    generations.own = sorted(generations.newest_first())
    generations.commit(lambda path: write_state(path, 3))


def keep_gates(run: Run) -> None:
    """Gates that were found anew take the place of others."""
    write_mask(run.step_folder(STEP) / GATES, mask(7), {"order": ["w"]}, kind=GATES_KIND)


def finish(run: Run) -> None:
    """A round ends: mask, manifest, and its states go."""
    generations = Generations(run.step_folder(STEP) / "state", "round-02")
    generations.own = sorted(generations.newest_first())
    commit(run)
    generations.drop()


def retire_units(run: Run) -> None:
    """A round that is superseded moves aside."""
    run.retire(STEP, ["round-01"])


def retire_step(run: Run) -> None:
    """A step that is superseded moves aside."""
    run.retire(STEP)


def save_recipe(run: Run) -> None:
    """Another recipe for the same folder."""
    run.save_recipe("new", source="r", overrides=[], drops=[])


SAVES = {
    action.__name__: action for action in (commit, rotate, keep_gates, finish, retire_units, retire_step, save_recipe)
}


def check(run: Run, name: str) -> None:
    """Old or new, and nothing in between."""
    assert not problems_of(run, old=True), problems_of(run, old=True)
    folder = run.step_folder(STEP)
    good = [path for path in sorted((folder / "state").glob("*.safetensors")) if state_problem(path) is None]
    found = read_manifest(folder)
    units = set(found.units) if found else set()
    if name in ("commit", "finish"):
        assert units in ({"round-01"}, {"round-01", "round-02"})
        if "round-02" in units:
            assert read_mask(folder / "round-02.mask.safetensors")[0] == mask(2)
    if name == "keep_gates":
        assert read_mask(folder / GATES, kind=GATES_KIND)[0] in (mask(6), mask(7))
    if name == "rotate" or (name == "finish" and "round-02" not in units):
        assert len(good) >= 2, good
    if name.startswith("retire"):
        kept = [*folder.rglob("round-01*"), *(run.root / ".old").rglob("round-01*")]
        assert [path.name for path in kept] == ["round-01.mask.safetensors"]
        assert read_mask(kept[0])[0] == mask(1)
    assert '"text":"old"' in (text := (run.root / "recipe.json").read_text()) or '"text":"new"' in text


def afterwards(run: Run, name: str) -> None:
    """The same again goes through, and nothing but temporary files is left of the crash."""
    SAVES[name](run)
    check(run, name)
    for path in run.root.rglob("*.tmp"):
        assert is_temporary(path.name)


def die_at(last: int | None, name: str, loss: str, folder: Path) -> tuple[int, list[str]]:
    """Do the save in a child that dies before operation number `last`; its exit code, and what it did."""
    reader, writer = os.pipe()
    child = REAL_OPEN(writer, "w")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            disk = Disk(folder, loss, last)
            disk.install()
            SAVES[name](Run(folder))
            child.write("\n".join(disk.said))
            child.flush()
            code = 0
        finally:
            os._exit(code)
    child.close()
    with REAL_OPEN(reader) as pipe:
        said = pipe.read().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def main() -> None:
    name, loss, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    begin(Run(place / "begun"))
    check(Run(place / "begun"), name)

    def fresh() -> Path:
        for folder in ("run", "attic"):
            shutil.rmtree(place / folder, ignore_errors=True)
        shutil.copytree(place / "begun", place / "run")
        return place / "run"

    code, said = die_at(None, name, loss, fresh())
    assert code == 0
    check(Run(place / "run"), name)
    for last, what in enumerate(said):
        folder = fresh()
        code, _ = die_at(last, name, loss, folder)
        assert code == -signal.SIGKILL, (last, what, code)
        try:
            check(Run(folder), name)
            afterwards(Run(folder), name)
        except AssertionError as error:
            raise AssertionError(f"died before operation {last} of {len(said)}, {what}: {error}") from error
    assert "torch" not in sys.modules
    assert save_file
    print("\n".join(said))


if __name__ == "__main__":
    main()
