/*
 * process.h - the three roles of slapenir-gateway: master, minter, worker
 *
 * main.c reads the command line and calls one of these; each returns the process's exit status
 * (0 done, 1 failed, 2 wrong usage or configuration).
 */
#pragma once

#define PROCESS_CONFIG_DEFAULT "/etc/slapenir/slapenir.yaml"

/* Serves until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 opens the audit file anew. */
int process_master_run(const char *config_path);
/* Validates everything the master would load and says what it finds on standard output. */
int process_check_run(const char *config_path);
/* Started by the master only, with the descriptors of process_internal.h. */
int process_minter_run(void);
int process_worker_run(unsigned slot);
