"""One right gradient as eight languages print it, for tests/test_prints.py: python benchmarks/prints.py.

Writes tests/data/prints/NAME.txt and table.json, which says of each print where it is from and what made it.  A
language that is not installed keeps the prints that are there.  Torch is taken from the python that TORCH names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
PRINTS = ROOT / "tests" / "data" / "prints"
PROBLEMS = {"seed": ROOT / "sample_inputs" / "seed.json", "batch": PRINTS / "batch.json"}


def gradient(path: Path, dtype: str) -> Any:
    """X' (S - Y) / B, each step in `dtype`."""
    fields = json.loads(path.read_text())
    w = np.array(fields["W"], dtype)
    x = np.atleast_2d(np.array(fields["x"], dtype))
    z = x @ w + np.array(fields.get("b", np.zeros(w.shape[1])), dtype)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    residual = e / e.sum(axis=1, keepdims=True)
    residual[np.arange(len(x)), np.atleast_1d(fields["label"])] -= 1
    return x.T @ residual / np.array(len(x), dtype)


class Language(NamedTuple):
    """A program with VALUES, ROWS, COLUMNS, TYPE and STATEMENT in it, and a statement for each print."""

    name: str
    file: str
    commands: tuple[str, ...]  # run where the file is
    types: tuple[str, str]  # of float64 and float32
    brackets: str  # of an array
    program: str
    prints: dict[str, str]


def loops(cell: str, row: str) -> str:
    return f"for (int i = 0; i < ROWS; i++) {{ for (int j = 0; j < COLUMNS; j++) {cell}; {row}; }}"


def c_prints(*formats: str) -> dict[str, str]:
    names = {f: f.replace("%", "").replace(".", "") for f in formats}
    return {names[f]: loops(f'printf(" {f}", G[i][j])', r'printf("\n")') for f in formats}


LANGUAGES = [
    Language(
        "numpy",
        "g.py",
        (f"{sys.executable} g.py",),
        ("float64", "float32"),
        "[]",
        "import sys\nimport numpy as np\nG = np.array(VALUES, np.TYPE)\nSTATEMENT\n",
        {
            "print": "print(G)",
            "repr": "print(repr(G))",
            "tolist": "print(G.tolist())",
            "scalars": "print([list(row) for row in G])",
            "precision-3": "np.set_printoptions(precision=3); print(G)",
            "suppress": "np.set_printoptions(suppress=True); print(G)",
            "savetxt": "np.savetxt(sys.stdout, G)",
            "savetxt-g": "np.savetxt(sys.stdout, G, fmt='%g', delimiter=',')",
            "round-3": "print(G.astype(float).round(3).tolist())",
        },
    ),
    Language(
        "torch",
        "g.py",
        (f"{os.environ.get('TORCH', sys.executable)} g.py",),
        ("float64", "float32"),
        "[]",
        "import torch\nG = torch.tensor(VALUES, dtype=torch.TYPE)\nSTATEMENT\n",
        {
            "print": "print(G)",
            "precision-10": "torch.set_printoptions(precision=10); print(G)",
            "sci": "torch.set_printoptions(sci_mode=True); print(G)",
            "no-sci": "torch.set_printoptions(sci_mode=False); print(G)",
            "tolist": "print(G.tolist())",
        },
    ),
    Language(
        "c",
        "g.c",
        ("gcc -O0 g.c -o g", "./g"),
        ("double", "float"),
        "{}",
        "#include <stdio.h>\nint main(void) { TYPE G[ROWS][COLUMNS] = VALUES; STATEMENT return 0; }\n",
        c_prints("%f", "%g", "%e", "%.3f", "%.9g", "%.17g", "%a")
        | {
            "braces": r'printf("{"); '
            + loops(r'printf("%s%.9g", j ? ", " : i ? ", {" : "{", G[i][j])', r'printf("}")')
            + r' printf("}\n");'
        },
    ),
    Language(
        "cpp",
        "g.cpp",
        ("g++ -O0 g.cpp -o g", "./g"),
        ("double", "float"),
        "{}",
        "#include <iostream>\n#include <iomanip>\n#include <limits>\n"
        "int main() { TYPE G[ROWS][COLUMNS] = VALUES; STATEMENT return 0; }\n",
        {
            "cout": loops("std::cout << G[i][j] << ' '", r"std::cout << '\n'"),
            "fixed": "std::cout << std::fixed; " + loops("std::cout << G[i][j] << ' '", r"std::cout << '\n'"),
            "setprecision-10": "std::cout << std::setprecision(10); "
            + loops("std::cout << G[i][j] << ' '", r"std::cout << '\n'"),
            "max-digits10": "std::cout << std::setprecision(std::numeric_limits<TYPE>::max_digits10); "
            + loops("std::cout << G[i][j] << ' '", r"std::cout << '\n'"),
            "scientific": "std::cout << std::scientific << std::setprecision(3); "
            + loops("std::cout << G[i][j] << ' '", r"std::cout << '\n'"),
        },
    ),
    Language(
        "r",  # has no single precision: the float32 numbers, as doubles
        "g.R",
        ("Rscript --vanilla g.R",),
        ("double", "double"),
        "()",
        "G <- matrix(cVALUES, nrow = ROWS, byrow = TRUE)\nSTATEMENT\n",
        {
            "print": "print(G)",
            "digits-15": "print(G, digits = 15)",
            "names": "rownames(G) <- paste0('x', 1:ROWS); colnames(G) <- paste0('class', 1:COLUMNS); print(G)",
            "write-table": "write.table(G, row.names = FALSE, col.names = FALSE)",
            "write-csv": "write.csv(G)",
        },
    ),
    Language(
        "octave",
        "g.m",
        ("octave-cli --norc g.m",),
        ("double", "single"),
        "[]",
        "1;\nG = TYPE(reshape(VALUES, COLUMNS, ROWS)');\nSTATEMENT\n",
        {
            "default": "G",
            "disp": "disp(G)",
            "long": "format long; G",
            "short-g": "format short g; G",
            "long-g": "format long g; disp(G)",
            "long-e": "format long e; disp(G)",
            "mat2str": "disp(mat2str(G))",
        },
    ),
    Language(
        "js",
        "g.js",
        ("node g.js",),
        ("Float64Array", "Float32Array"),
        "[]",
        "const T = VALUES.map(row => TYPE.from(row)), G = T.map(row => Array.from(row));\nSTATEMENT\n",
        {
            "console-log": "console.log(G)",
            "typed-rows": "console.log(T)",
            "json": "console.log(JSON.stringify(G))",
            "json-2": "console.log(JSON.stringify(G, null, 2))",
            "rows": "for (const row of G) console.log(row.join(' '))",
            "to-fixed-6": "for (const row of G) console.log(row.map(v => v.toFixed(6)).join(', '))",
            "to-precision-8": "for (const row of G) console.log(row.map(v => v.toPrecision(8)).join(' '))",
            "to-exponential": "for (const row of G) console.log(row.map(v => v.toExponential(5)).join(' '))",
        },
    ),
    Language(
        "rust",
        "g.rs",
        ("rustc -A warnings g.rs", "./g"),
        ("f64", "f32"),
        "[]",
        "fn main() { let G: [[TYPE; COLUMNS]; ROWS] = VALUES; STATEMENT }\n",
        {
            "display": 'for r in &G { for v in r { print!("{} ", v); } println!(); }',
            "debug": 'println!("{:?}", G);',
            "debug-pretty": 'println!("{:#?}", G);',
            "exponent": 'for r in &G { for v in r { print!("{:e} ", v); } println!(); }',
            "six": 'for r in &G { for v in r { print!("{:.6} ", v); } println!(); }',
            "debug-3": 'println!("{:.3?}", G);',
        },
    ),
    Language(
        "java",
        "G.java",
        ("java G.java",),
        ("double", "float"),
        "{}",
        "class G { public static void main(String[] a) { TYPE[][] G = VALUES; STATEMENT } }\n",
        {
            "deep-to-string": "System.out.println(java.util.Arrays.deepToString(G));",
            "println": loops('System.out.print(G[i][j] + " ")', "System.out.println()"),
            "format-e": loops('System.out.printf("%e ", G[i][j])', "System.out.println()"),
        },
    ),
    Language(
        "perl",  # has no single precision: the float32 numbers, as doubles
        "g.pl",
        ("perl g.pl",),
        ("double", "double"),
        "[]",
        "my $G = VALUES;\nSTATEMENT\n",
        {"print": 'print join(" ", @$_), "\\n" for @$G;'},
    ),
]


def literal(language: Language, values: Any) -> str:
    """The numbers as this language's array of arrays; R and Octave reshape a flat one."""
    suffix = "f" if language.name == "java" and values.dtype == np.float32 else ""
    first, last = language.brackets[0], language.brackets[1]
    rows = [", ".join(f"{value!r}{suffix}" for value in row) for row in values.astype(np.float64).tolist()]
    if language.name in ("r", "octave"):
        return first + ", ".join(rows) + last
    return first + ", ".join(first + row + last for row in rows) + last


def printed(language: Language, values: Any, statement: str) -> str:
    program = language.program.replace("STATEMENT", statement).replace("VALUES", literal(language, values))
    program = program.replace("TYPE", language.types[values.dtype == np.float32])
    program = program.replace("ROWS", str(values.shape[0])).replace("COLUMNS", str(values.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, language.file).write_text(program)
        for command in language.commands:
            done = subprocess.run(command.split(), cwd=folder, capture_output=True, check=True, text=True)
    return done.stdout


def matlab(values: Any, single: bool) -> Iterator[tuple[str, str, str]]:
    """MATLAB is not installed: these follow its documentation of `format`, for a matrix that is not all integers.

    short is 4 decimals and long 15 (7 in single), after a common factor if the largest is below 0.001 or from 1000.
    """
    power = int(np.floor(np.log10(np.abs(values).max())))
    factor = 10.0**power if not -3 <= power < 3 else 1.0
    head = f"   1.0e{power:+03d} *\n\n" if factor != 1 else ""
    name = "  3×5 single matrix\n\n" if single else ""
    for style, decimals in (("short", 4), ("long", 7 if single else 15)):
        width = decimals + 6
        cells = [[f"{v / factor:{width}.{decimals}f}" for v in row] for row in values.astype(np.float64)]
        blocks = [range(first, min(first + 80 // width, 5)) for first in range(0, 5, 80 // width)]
        text = f"\nG =\n\n{name}{head}"
        for block in blocks:
            if len(blocks) > 1:
                text += f"  Columns {block[0] + 1} through {block[-1] + 1}\n\n"
            text += "".join("".join(row[i] for i in block) + "\n" for row in cells) + "\n"
        yield style, f"format {style}; G", text
    digits = 8 if single else 16
    rows = (" ".join(f"{v:.{digits}g}" for v in row) for row in values.astype(np.float64).tolist())
    yield "mat2str", "disp(mat2str(G))", f"[{';'.join(rows)}]\n"


def main() -> None:
    table_file = PRINTS / "table.json"
    table = json.loads(table_file.read_text()) if table_file.exists() else {}
    for problem, path in PROBLEMS.items():
        for dtype in ("float64", "float32"):
            values = gradient(path, dtype)

            def keep(language: str, style: str, command: str, text: str) -> None:
                name = f"{problem}-{dtype}-{language}-{style}"  # noqa: B023
                (PRINTS / f"{name}.txt").write_text(text, encoding="utf-8")
                table[name] = {"problem": problem, "dtype": dtype, "origin": language, "command": command}  # noqa: B023

            for style, command, text in matlab(values, dtype == "float32"):
                keep("matlab", style, command, text)
            for language in LANGUAGES:
                for style, statement in language.prints.items():
                    try:
                        text = printed(language, values, statement)
                    except FileNotFoundError:
                        print(f"{language.name} is not installed; its prints are kept", file=sys.stderr)
                        break
                    except subprocess.CalledProcessError as error:
                        sys.exit(f"{language.name} {style}: {error.stderr}")
                    keep(language.name, style, statement, text)
    lines = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(table.items()))
    table_file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
