# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The unit test of a header of backend/ that is pure logic, with sanitizers.  The
# Makefile that includes this is in a folder with the header's name, beside test.c
# and model.h, which says the same as the header in another way.
#
#   make check [O=dir] [JUNIT_DIR=dir] [SEED=number] [SANITIZE=]

SRC		:= $(patsubst %/,%,$(dir $(abspath $(firstword $(MAKEFILE_LIST)))))
TOP		:= $(abspath $(SRC)/../../..)
NAME		:= $(notdir $(SRC))
O		?= $(TOP)/build/tests/$(NAME)
override O	:= $(abspath $(O))

CFLAGS		?= -O2 -g
SANITIZE	?= address,undefined
TEST_CFLAGS	:= -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I$(TOP)/include \
		   -I$(TOP)/backend $(CFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE) \
		   -fno-sanitize-recover=all -fno-omit-frame-pointer)
HEADERS		:= $(TOP)/backend/$(NAME).h $(TOP)/include/xen/interface/io/vpipe.h \
		   $(wildcard $(SRC)/*.h) $(TOP)/tests/unit/random.h
TIMEOUT		?= 300

.PHONY: all check clean
all: $(O)/test_$(NAME)

$(O)/test_$(NAME): $(SRC)/test.c $(HEADERS) $(SRC)/Makefile $(TOP)/tests/unit/pure.mk
	mkdir -p $(O)
	$(CC) $(TEST_CFLAGS) -o $@ $< -lcmocka

check: all
ifdef JUNIT_DIR
	mkdir -p $(JUNIT_DIR)
	rm -f $(abspath $(JUNIT_DIR))/$(NAME).xml
endif
	$(if $(JUNIT_DIR),CMOCKA_MESSAGE_OUTPUT=XML \
		CMOCKA_XML_FILE=$(abspath $(JUNIT_DIR))/$(NAME).xml) \
	$(if $(SEED),SEED=$(SEED)) timeout $(TIMEOUT) $(O)/test_$(NAME)

clean:
	rm -rf $(O)
