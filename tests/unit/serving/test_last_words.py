"""A server's last words are the cause, as real logs of Triton 2.51 have it; what every log says is none."""

import pytest

from serving.server.last_words import fatal_words, load_failures, server_end, unfinished

# Of every start on a machine without a GPU, before and after the models are loaded.
START = """\
W1127 15:09:42.064334 27270 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, pinned memory pool \
will not be available: CUDA driver version is insufficient for CUDA runtime version"
I1127 15:09:42.064409 27270 cuda_memory_manager.cc:117] "CUDA memory pool disabled"
E1127 15:09:42.064458 27270 server.cc:241] "CudaDriverHelper has not been initialized."
I1127 15:09:42.065435 27270 model_lifecycle.cc:472] "loading: bad:1"
I1127 15:09:42.065486 27270 model_lifecycle.cc:472] "loading: good:1"
"""
UP = """\
I1127 15:09:43.553604 27270 model_lifecycle.cc:839] "successfully loaded 'good'"
I1127 15:09:44.346079 27270 server.cc:674] 
+-------+---------+--------+
| Model | Version | Status |
+-------+---------+--------+

Error: Failed to initialize NVML
W1127 15:09:44.347481 27270 metrics.cc:798] "DCGM unable to start: DCGM initialization error"
E1127 15:09:44.347704 27270 tritonserver.cc:2607] "Internal: failed to load all models"
I1127 15:09:44.349566 27270 http_server.cc:4713] "Started HTTPService at 127.0.0.1:41637"
"""  # noqa: W291
BACKTRACE = """\
Signal (11) received.
 0# 0x0000559AB9A0B52D in /opt/tritonserver/bin/tritonserver
 1# 0x00007FF00425A050 in /lib/x86_64-linux-gnu/libc.so.6
"""
STACK = """\
Signal (6) received.
 0# 0x00005628A218752D in /opt/tritonserver/bin/tritonserver
 1# 0x00007FF0E805A050 in /lib/x86_64-linux-gnu/libc.so.6
 2# abort in /lib/x86_64-linux-gnu/libc.so.6
 3# std::__throw_length_error(char const*) in /lib/x86_64-linux-gnu/libstdc++.so.6
 4# TRITONBACKEND_OutputBuffer in /opt/tritonserver/lib/libtritonserver.so
 5# 0x00007FF0E3030C28 in /opt/tritonserver/backends/python/libtriton_python.so
"""
PORT = """\
E1127 15:30:08.789207 9976 main.cc:245] "failed to start GRPC service: Unavailable - Socket '127.0.0.1:42451' already \
in use "
"""
STOL = """\
terminate called after throwing an instance of 'std::invalid_argument'
  what():  stol
"""
PYTHON = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f4038382000 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
"""
UNHEALTHY = """\
E1127 15:09:44.345769 27270 backend_model.cc:692] "ERROR: Failed to create instance: Stub process 'bad_0_0' is not \
healthy."
E1127 15:09:44.345923 27270 model_lifecycle.cc:642] "failed to load 'bad' version 1: Internal: Stub process 'bad_0_0' \
is not healthy."
I1127 15:09:44.345938 27270 model_lifecycle.cc:777] "failed to load 'bad'"
"""
BROKEN_TEXT = """\
[libprotobuf ERROR /tmp/tritonbuild/tritonserver/build/protobuf/text_format.cc:337] Error parsing text-format \
inference.ModelConfig: 139:9: Message type "inference.ModelConfig" has no field named "nonsense".
E1127 15:33:45.892906 21340 model_repository_manager.cc:1460] "Poll failed for model directory 'bad': failed to read \
text proto from /models/bad/config.pbtxt"
"""
WRONG_NAME = """\
E1127 15:10:38.858207 29004 model_repository_manager.cc:1460] "Poll failed for model directory 'other': unexpected \
directory name 'other' for model 'bad', directory name must equal model name"
"""
NO_VERSION = """\
E1127 15:34:08.588558 22055 model_repository_manager.cc:724] "failed to load model 'none': at least one version must \
be available under the version policy of model 'none'"
"""


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (-9, START + UP, "was killed by SIGKILL"),
        (-11, START + UP + BACKTRACE, "was killed by SIGSEGV"),
        (-6, START + STOL, "was killed by SIGABRT: std::invalid_argument: stol"),
        (
            -6,
            START + UP + STOL + STACK,
            "was killed by SIGABRT in libtritonserver.so (TRITONBACKEND_OutputBuffer): std::invalid_argument: stol",
        ),
        (-11, START + STACK + UP, "was killed by SIGSEGV"),
        (-11, START + UNHEALTHY + PYTHON + UP + BACKTRACE, "was killed by SIGSEGV"),
        (0, START + UP + "Signal (15) received.\n", "ended with exit code 0: it was sent signal 15"),
        (
            1,
            START + UP + PORT,
            "ended with exit code 1: failed to start GRPC service: Unavailable - Socket "
            "'127.0.0.1:42451' already in use",
        ),
        (1, START, "ended with exit code 1"),
        (1, "", "ended with exit code 1"),
        (1, "error: Failed to parse --http-port\n", "ended with exit code 1: Failed to parse --http-port"),
        (-64, "", "was killed by SIGRTMAX"),
        (-40, "", "was killed by signal 40"),
    ],
)
def test_a_server_ends_with_its_own_words(code: int, log: str, words: str) -> None:
    assert server_end(code, log) == words


def test_want_of_memory_is_named_where_the_kernel_counts_it() -> None:
    assert "SIGKILL, as the kernel kills for want of memory" in server_end(-9, START, starved=True)
    assert server_end(-11, START, starved=True) == "was killed by SIGSEGV"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (START + UNHEALTHY, ""),
        (START + PYTHON + UNHEALTHY, "Fatal Python error: Segmentation fault"),
        (START + STOL, "std::invalid_argument: stol"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", "std::bad_alloc"),
        ("stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: No such",
         "error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: No such"),
        ("bash: -c: line 1: syntax error near unexpected token `('\n",
         "bash: -c: line 1: syntax error near unexpected token `('"),
    ],
)  # fmt: skip
def test_what_a_dying_process_says_is_found(log: str, words: str) -> None:
    assert fatal_words(log) == words


def test_models_that_the_index_leaves_out_have_their_reason() -> None:
    found = load_failures(START + BROKEN_TEXT + WRONG_NAME + NO_VERSION + UNHEALTHY)
    assert found == {
        "bad": "failed to read text proto from /models/bad/config.pbtxt "
        '(139:9: Message type "inference.ModelConfig" has no field named "nonsense".)',
        "other": "unexpected directory name 'other' for model 'bad', directory name must equal model name",
        "none": "at least one version must be available under the version policy of model 'none'",
    }


def test_an_ensemble_without_one_of_its_models_names_it() -> None:
    manager = "E1128 08:39:38.260737 27727 model_repository_manager.cc:703]"
    failed = (
        f"{manager} \"Invalid argument: ensemble 'tb' depends on 'tb_tokenizer' which has no loaded version. Model "
        "'tb_tokenizer' loading failed with error: version 1 is at UNAVAILABLE state: Internal: none\\n\\nAt:\""
    )
    missing = f'{manager} "Invalid argument: ensemble te contains models that are not available or ambiguous: te_model"'
    assert load_failures(f"{failed}\n{missing}\n") == {
        "tb": "the ensemble depends on 'tb_tokenizer' which has no loaded version",
        "te": "the ensemble contains models that are not available or ambiguous: te_model",
    }


def test_what_has_not_ended_loading_is_known() -> None:
    assert unfinished(START) == ["bad", "good"]
    assert unfinished(START + UNHEALTHY) == ["good"]
    assert unfinished(START + UNHEALTHY + UP) == []
