/*
 * net_internal.h - shared by the files of the net room
 */
#pragma once

#include "gateway/net/net.h"

/* The class of a socket error once connected; an errno. */
enum err net_error_of(int error);
/* The same while connecting. */
enum err net_dial_error_of(int error);

/* Fires what is due at `tick` (loop time / NET_TICK_MS). */
void net_wheel_turn(struct net_loop *loop, uint64_t tick);
