# The lab: host packages, the root that all is built in, images, a console.

lab-setup:
	lab/setup.sh

build/root.key: lab/build-root.sh
	lab/setup.sh
	lab/build-root.sh
	@touch $@

build/images/id: build/root.key lab/build-images.sh lab/strip-module.sh lab/inroot.sh \
		lab/labd.c lab/labrun.c lab/labproto.h \
		$(shell find lab/image lab/dom0 lab/guest lab/peer -type f)
	lab/build-images.sh

lab-root: build/root.key

lab-images: build/images/id

lab-shell: build/images/id
	/usr/bin/python3 lab/lab.py shell

.PHONY: lab-setup lab-root lab-images lab-shell
