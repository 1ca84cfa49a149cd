// SPDX-License-Identifier: Apache-2.0
#include "preload/elf.h"
