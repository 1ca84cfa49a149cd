// SPDX-License-Identifier: Apache-2.0
//
// The smallest C program: what startup.c starts, beside /bin/true.

int main(void) { return 0; }
