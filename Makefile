# SPDX-License-Identifier: GPL-2.0
#
#   make demo         build all, boot the lab, send one file three ways, a table
#   make check        the tests; JUnit in out/
#   make check-all    also the long ones: other filesystems, concurrency, power cuts
#   make bench        the paper's micro-benchmarks: out/bench.md (hours; with ROUNDS=1 less
#                     than one; see docs/benchmark.md for parts of it)
#   make bench-smoke  is vPipe as fast as it was? in virtual time, three minutes
#   make bench-fairness  do guests share dom0 by weight? out/fairness.json and .svg
#   make lab-shell    a console in the lab's dom0
#   make modules      vpipe-front.ko, vpipe-back.ko for the lab's kernel: build/modules
#   make programs     libvpipe, vpipectl and the others for the lab: build/bin
#   make lint         checkpatch, sparse, Debian 12's kernel, manual pages, shellcheck
#   make install      libvpipe and the tools of this machine [DESTDIR= PREFIX=]
#   make clean        what was built, but for the lab's root and images
#   make distclean    everything that was made
#
# On a Xen host or guest of your own, see README.md: the modules are built by
#   make -C /lib/modules/$(uname -r)/build M=$PWD modules

PYTHON := /usr/bin/python3

.PHONY: all modules programs payload demo bench bench-smoke bench-fairness check check-all check-unit \
	check-system lint install clean distclean
all: modules programs

include lab/lab.mk

SOURCES := $(shell find Kbuild compat include frontend backend libvpipe tools \
	lab/xencpu.c bench/vpload.c tests/programs tests/counts tests/forge tests/pmem tests/inject tests/crash/vpcrash.c \
	-type f)

build/payload/id: build/root.key lab/build-payload.sh $(SOURCES)
	lab/build-payload.sh

modules programs payload: build/payload/id

demo: lab-setup build/images/id build/payload/id
	@$(PYTHON) lab/demo.py

bench: lab-setup build/images/id build/payload/id
	lab/setup.sh gnuplot-nox
	@$(PYTHON) bench/bench.py $(if $(ROUNDS),--rounds $(ROUNDS))

bench-smoke: lab-setup build/images/id build/payload/id
	@$(PYTHON) bench/smoke.py

bench-fairness: build/images/id build/payload/id
	lab/setup.sh gnuplot-nox
	@$(PYTHON) bench/fairness.py

check: lab-setup build/images/id build/payload/id
	tests/run

check-all: lab-setup build/images/id build/payload/id
	tests/run unit fuzz lint system long crash

check-unit: lab-setup
	tests/run unit

check-system: lab-setup build/images/id build/payload/id
	tests/run system

lint: build/root.key
	tests/run lint

install:
	$(MAKE) -C libvpipe install
	$(MAKE) -C tools install

clean:
	rm -rf out build/payload build/modules build/bin build/libvpipe build/tools build/unit

distclean:
	rm -rf out build
