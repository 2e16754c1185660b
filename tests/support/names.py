"""Names of directories that some part, somewhere, has read as something else."""

# Each trap by itself, for a failure that says which one it was.
TRAPS = (
    "Müller", "jose\u0301", "日本語", "🎵", "a b", "a'b", 'a"b', "#a", "!a", "a=b", "a:b", "a,b", "a;b", "a&b", "a\\b",
    "a%41b", "a[b]", "a*b", "a{b}", "$HOME", "a@b", "a+b", "~a", "-a", "a ", " a", "a\tb",
)  # fmt: skip
# All of them in one name: a system is started once.
EVERY_TRAP = "~Mü jose\u0301 日本🎵 'a' \"b\" #=:,;&\\ 100%41 [c]*{d} $HOME @+ "
