"""What the lint scripts share: the project's own files, and how findings are printed."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files():
    """Paths relative to the root: tracked ones and new ones that are not ignored."""
    git = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True)
    if git.returncode == 0:
        names = [n.decode() for n in git.stdout.split(b"\0") if n]
    else:  # an exported tree
        names = []
        for folder, folders, found in os.walk(ROOT):
            folders[:] = [d for d in folders if d != ".git" and not d.startswith("build")]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in found]
    return sorted(n for n in set(names)
                  if os.path.isfile(os.path.join(ROOT, n))
                  and not n.startswith("tests/fuzz/corpus/"))


def read(name):
    with open(os.path.join(ROOT, name), "rb") as f:
        return f.read()


def shebang(name):
    first = read(name)[:80].split(b"\n")[0].decode(errors="replace")
    return first if first.startswith("#!") else ""


def is_shell(name):
    first = shebang(name)
    return name.endswith(".sh") or "sh" in first.replace("/", " ").split()


def is_python(name):
    return name.endswith(".py") or "python" in shebang(name)


def finish(findings):
    """Print the findings; the status for sys.exit()."""
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":  # lib.py shell|python|c: the list, for the shell
    choose = {"shell": is_shell, "python": is_python,
              "c": lambda n: n.endswith((".c", ".h"))}[sys.argv[1]]
    print("\n".join(n for n in files() if choose(n)))
