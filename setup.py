"""What pyproject.toml cannot say: the configs travel with the wheel."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Also copies `configs/` into the package, where `darkjax.config` finds them by name."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout has them beside the package
            target = pathlib.Path(self.build_lib, "darkjax", "shipped", "configs")
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(pathlib.Path("configs").glob("*.py")):
                shutil.copy(file, target)


setup(cmdclass={"build_py": WithConfigs})
