"""A private copy of the suite with our binary in place of src/redis-server.

The unpacked source stays as Debian ships it. Each job gets a copy of tests/ below a short path (the suite's unix
sockets must stay under 108 bytes), with overlay.tcl sourced and the few hooks below that let it in.
"""
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = ("redis-cli", "redis-benchmark")
# Ours are the server's own binary under these names.
CHECKS = ("redis-check-aof", "redis-check-rdb")

# (file, what it is for, pattern, replacement): every one must match, or the suite is not the one this was written for.
HOOKS = [
    ("test_helper.tcl", "source the overlay behind the last definition it wraps",
     r"\n# parse arguments\n", "\nsource tests/support/overlay.tcl\n\n# parse arguments\n"),
    ("test_helper.tcl", "errors between tests",
     r"(proc execute_test_file .*?)\n    source \$path\n", r"\1\n    compat_source $path\n"),
    ("test_helper.tcl", "events",
     r"(foreach \{status data elapsed\} \$payload break\n)", r"\1    compat_event $status $data $elapsed\n"),
    ("test_helper.tcl", "a test client that died",
     r"(proc read_from_test_client fd \{\n    set bytes \[gets \$fd\]\n)",
     r'\1    if {[eof $fd]} {puts "compat: the test client died"; force_kill_all_servers; exit 1}\n'),
    ("support/server.tcl", "errors between tests of a server",
     r"if \{\[catch \{ uplevel 1 \$code \} error\]\}", "if {[catch { compat_block 1 $code } error]}"),
    ("support/server.tcl", "errors between tests of a tag",
     r"(proc tags \{tags code\} \{.*?)uplevel 1 \$code", r"\1compat_block 1 $code"),
    ("support/server.tcl", "errors of a nested server inside a test belong to the test",
     r'if \{!\$assertion && \$::durable\} \{', 'if {$::durable && $::cur_test eq ""} {'),
    ("support/server.tcl", "say that an error was not a test's",
     r"set msg \[string range \$error 10 end\]\n(\s*)lappend details \$msg",
     r'set msg "\[block exception\] in $::curfile\\n[regsub {^assertion:} $error {}]"\n\1lappend details $msg'),
    ("support/server.tcl", "bounded start",
     r"set maxiter \[expr \{120\*1000/\$checkperiod\}\]",
     "set maxiter [expr {$::compat_start_timeout*1000/$checkperiod}]"),
    ("support/server.tcl", "a server that dies at its start",
     r"(        after \$checkperiod\n        incr maxiter -1\n)",
     r"\1        if {[compat_pid_dead $pid] && ![info exists seen_dead]} {set seen_dead 1; set maxiter 2}\n"),
    ("support/server.tcl", "a server that never gets ready",
     r'(count_message_lines \$stdout "Ready to accept"\] > \$\w+\} \{\s*break\s*\}\s*)after 10',
     r"\1compat_ready_guard compat_t0 $pid $stdout\n            after 10"),
    ("support/server.tcl", "a server that does not start fails its test and leaves nothing",
     r"start_server_error \$config_file \$err\n(\s*)return",
     r"start_server_error $config_file $err\n\1catch {exec kill -9 $pid}\n"
     r"\1set ::tags [lrange $::tags 0 end-[llength $tags]]\n"
     r'\1if {$::cur_test ne ""} {error "assertion:can not start a server"}\n\1return'),
    ("support/test.tcl", "tell an exception from a failed assertion",
     r"set msg \[string range \$error 10 end\]",
     'set msg [expr {$assertion ? [string range $error 10 end] : "EXCEPTION: $error"}]'),
]


class Changed(Exception):
    """The suite is not the one the hooks were written for."""


def certificates(to):
    """Make the suite's certificates, as its own script does; a group that everybody knows spares a minute of primes."""
    tls = os.path.join(to, "tests", "tls")
    os.makedirs(tls)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": to}
    subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out",
                    os.path.join(tls, "redis.dh")], **quiet)
    subprocess.run(["bash", os.path.join("utils", "gen-test-certs.sh")], **quiet)


def copy(suite, server, to, tls=False):
    """Copy SUITE to TO, with SERVER (and Debian's clients) where the suite looks for the build."""
    os.makedirs(os.path.join(to, "src"))
    shutil.copytree(os.path.join(suite, "tests"), os.path.join(to, "tests"), symlinks=True)
    for name in ("runtest", "redis.conf", "sentinel.conf"):
        shutil.copy2(os.path.join(suite, name), to)
    shutil.copytree(os.path.join(suite, "src", "commands"), os.path.join(to, "src", "commands"))
    shutil.copytree(os.path.join(suite, "utils"), os.path.join(to, "utils"), symlinks=True)
    os.makedirs(os.path.join(to, "tests", "tmp"), exist_ok=True)
    for name in ("redis-server", "redis-sentinel"):
        os.symlink(server, os.path.join(to, "src", name))
    ours = os.path.basename(os.path.realpath(server)).startswith("redvault")
    for tool in TOOLS + CHECKS:
        found = server if ours and tool in CHECKS else shutil.which(tool)
        if found:
            os.symlink(found, os.path.join(to, "src", tool))
    if tls:
        certificates(to)
    shutil.copy2(os.path.join(HERE, "overlay.tcl"), os.path.join(to, "tests", "support", "overlay.tcl"))
    for name, purpose, pattern, replacement in HOOKS:
        path = os.path.join(to, "tests", name)
        with open(path, encoding="latin-1") as f:
            text = f.read()
        text, found = re.subn(pattern, replacement, text, flags=re.S)
        if not found:
            raise Changed(f"tests/{name}: no place for the hook '{purpose}'")
        with open(path, "w", encoding="latin-1") as f:
            f.write(text)
