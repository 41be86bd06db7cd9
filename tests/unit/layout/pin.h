/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pin.h: what the files here say of a structure.  Compiled, never linked. */
#ifndef PIN_H
#define PIN_H

#include <stddef.h>

#define MEMBER(type, member, offset, size)					\
	_Static_assert(offsetof(struct type, member) == (offset),		\
		       #type "." #member " offset");				\
	_Static_assert(sizeof(((struct type *)0)->member) == (size),		\
		       #type "." #member " size")
#define SIZE(type, size)							\
	_Static_assert(sizeof(struct type) == (size), #type " size")
#define VALUE(name, value)							\
	_Static_assert((name) == (value), #name)

#endif
