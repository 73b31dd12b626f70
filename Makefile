# clinical: a PostgreSQL extension
#
#   make, make install, make installcheck   with PostgreSQL's development files (PGXS);
#                                           installcheck needs a running server
#   make test            all tests, in a scratch directory; installs what is missing (Debian)
#   make test-versions   the same on the other PostgreSQL versions
#   make test-upgrade    pg_upgrade from 15 to 17
#   make test-faults     errors, cancels and crashes at points inside the code
#   make test-sanitize   the tests of clinical-gateway with a build that has ASan and UBSan
#   make soak            processes are killed a thousand times under load
#   make fuzz            libFuzzer on the validator, on what reads definitions, and on the engine
#                        of monitoring rules, and on what clinical-gateway reads itself
#   make streak          that engine against its definition: STREAKS=10000000 histories, SEED=...
#   make demo, make demo-stop, make bench

# Where the demo takes its data from: asked for before DATA gets PGXS's meaning.
DEMO_DATA := $(DATA)

EXTENSION  = clinical
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" clinical.control)
PGFILEDESC = "clinical - back end of a clinical research platform"

MODULE_big = clinical
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# The install script is these files of sql/, in this order.
SQL_MODULES = core access worker audit project patient instrument observation intake monitor summary report report_status \
	report_alert report_compliance report_item report_render schedule observe observe_trace observe_metrics http clinical
INSTALL_SQL = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA        = $(sort $(wildcard sql/upgrade/*.sql))
DATA_built  = $(INSTALL_SQL)

# The verifier of exported audit trails, which needs no server.
SCRIPTS     = bin/clinical-verify-audit

# INSTANCE_OPTS: --temp-instance and --temp-config of test/run.sh; without them a running
# server is tested.
INSTANCE_OPTS  =
REGRESS        = core worker project patient access audit instrument observation intake monitor summary report report_status report_compliance report_item report_render schedule observe observe_trace observe_metrics http clinical
# An output directory of its own: in the top directory, pg_regress 15 would take sql/NAME.sql
# for the test of that name.  It looks for expected/ there too, and the isolation program
# nowhere else.
TEST_OUTPUT    = tmp_regress
REGRESS_PREP   = $(TEST_OUTPUT)
REGRESS_OPTS   = --inputdir=test --outputdir=$(TEST_OUTPUT) $(INSTANCE_OPTS)
# Assigned at once (:=), or an empty list would count as defined.
ISOLATION     := $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=$(TEST_OUTPUT) $(INSTANCE_OPTS)
ifneq (,$(wildcard test/t/*.pl))
TAP_TESTS      = 1
PROVE_TESTS    = test/t/*.pl
endif

# The HTTP face, a program of its own; left out where its libraries are not there.
GATEWAY         = src/gateway/clinical-gateway
GATEWAY_OBJS    = $(patsubst %.c,%.o,$(sort $(wildcard src/gateway/*.c)))
GATEWAY_LIBS    = -lmicrohttpd -ljwt -ljansson -lcrypto -lpthread
GATEWAY_HEADERS = microhttpd.h jwt.h jansson.h openssl/core_names.h libpq-fe.h
# What it serves as /openapi.json, as bytes that the compiler reads.
GATEWAY_OPENAPI = src/gateway/openapi.inc

# The same for tests: an error of memory, undefined behaviour or a leak ends it, and is told.
GATEWAY_SANITIZED = $(GATEWAY)-sanitize
SANITIZERS        = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -U_FORTIFY_SOURCE

# What it reads itself, for libFuzzer: the parts that need no client and no server.
GATEWAY_FUZZ      = test/fuzz/gateway_fuzz
GATEWAY_FUZZ_SRCS = test/fuzz/gateway_fuzz.c src/gateway/uri.c src/gateway/route.c src/gateway/jwks.c

EXTRA_CLEAN    = $(TEST_OUTPUT) $(GATEWAY) $(GATEWAY_OBJS) $(GATEWAY_SANITIZED) $(GATEWAY_FUZZ) $(GATEWAY_OPENAPI)

# Out of place because of PostgreSQL's own headers: -Wconversion -Wcast-qual -Wundef
# -Wredundant-decls -Wpedantic.
WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wold-style-definition -Wformat=2 \
	-Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wnull-dereference \
	-Wdouble-promotion -Wwrite-strings -Wswitch-enum -Wvla
# PG_FUNCTION_ARGS and hooks have parameters that not every function needs.
WARNINGS += -Wno-unused-parameter
# What an initializer leaves out is zero: that is how a plan not prepared yet begins.
WARNINGS += -Wno-missing-field-initializers
# libpq's enumerations grow from version to version.
GATEWAY_WARNINGS = -Wno-switch-enum
ifdef WERROR
WARNINGS += -Werror
endif
PG_CPPFLAGS = -DCLINICAL_VERSION='"$(EXTVERSION)"'
PG_CFLAGS   = $(WARNINGS)
# Faults that tests ask for, at points of the code (src/core_fault.c).
ifdef FAULTS
PG_CPPFLAGS += -DCLINICAL_FAULTS
endif
# For test/fuzz/run.sh: FUZZ is libFuzzer's library, CC clang.
ifdef FUZZ
OBJS       += test/fuzz/fuzz.o
PG_CFLAGS   = -g -O1 -Wno-everything -fsanitize=fuzzer-no-link,bounds,shift,integer-divide-by-zero,bool,enum \
	-fno-sanitize=leak -fsanitize-trap=bounds,shift,integer-divide-by-zero,bool,enum
SHLIB_LINK  = $(FUZZ) -lstdc++ -lm -lpthread
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# Debian has PGXS in the client's package, and the headers in one of their own.
PG_HEADER := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)
ifneq (,$(and $(wildcard $(PGXS)),$(PG_HEADER)))
include $(PGXS)
else
all install installdirs uninstall installcheck check clean distclean maintainer-clean $(OBJS):
	$(error $(PG_CONFIG) finds no PostgreSQL development files (Debian: postgresql-server-dev-15 to -18); "make test" installs them)
endif

ifdef SANITIZE
all: $(GATEWAY_SANITIZED)
endif
ifndef FUZZ
ifeq (yes,$(shell for h in $(GATEWAY_HEADERS); do echo "\#include <$$h>"; done | $(CC) $(CPPFLAGS) -I$(includedir) -E -x c - >/dev/null 2>&1 && echo yes))
all: $(GATEWAY)
install: install-gateway
uninstall: uninstall-gateway
else
all: no-gateway
endif
endif

$(GATEWAY): $(GATEWAY_OBJS)
	$(CC) $(CFLAGS) $(GATEWAY_OBJS) $(LDFLAGS) -L$(libdir) -lpq $(GATEWAY_LIBS) -o $@
$(GATEWAY_OBJS): %.o: %.c $(wildcard src/gateway/*.h) clinical.control
	$(CC) $(CFLAGS) $(GATEWAY_WARNINGS) $(CPPFLAGS) -I$(includedir) -c $< -o $@

src/gateway/openapi.o: $(GATEWAY_OPENAPI)
$(GATEWAY_OPENAPI): doc/openapi.json
	od -An -v -tx1 $< | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g' > $@.tmp
	mv $@.tmp $@

$(GATEWAY_SANITIZED): $(GATEWAY_OPENAPI) $(wildcard src/gateway/*.[ch]) clinical.control
	$(CC) $(WARNINGS) $(GATEWAY_WARNINGS) $(CPPFLAGS) $(SANITIZERS) -I$(includedir) $(sort $(wildcard src/gateway/*.c)) $(LDFLAGS) -L$(libdir) -lpq $(GATEWAY_LIBS) -o $@

$(GATEWAY_FUZZ): $(GATEWAY_FUZZ_SRCS) $(wildcard src/gateway/*.[ch]) clinical.control
	clang $(CPPFLAGS) -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -U_FORTIFY_SOURCE -I$(includedir) -Isrc/gateway \
		$(GATEWAY_FUZZ_SRCS) -L$(libdir) -lpq $(GATEWAY_LIBS) -o $@

.PHONY: install-gateway uninstall-gateway no-gateway gateway-sanitize gateway-fuzz
gateway-fuzz: $(GATEWAY_FUZZ)
gateway-sanitize: $(GATEWAY_SANITIZED)
install-gateway: $(GATEWAY)
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(GATEWAY) '$(DESTDIR)$(bindir)/'
uninstall-gateway:
	rm -f '$(DESTDIR)$(bindir)/$(notdir $(GATEWAY))'
no-gateway:
	@echo "clinical-gateway is left out, for want of $(GATEWAY_HEADERS) (Debian: libmicrohttpd-dev libjwt-dev libjansson-dev libssl-dev libpq-dev)"

# Debian's PostgreSQL is built without dependency tracking, so PGXS does none.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h) clinical.control

$(INSTALL_SQL): $(SQL_MODULES:%=sql/%.sql) Makefile clinical.control
	cat $(SQL_MODULES:%=sql/%.sql) > $@

$(TEST_OUTPUT):
	mkdir $@
	ln -s ../expected $@/expected

# For people and CI: these need no PostgreSQL to begin with.
.PHONY: demo demo-stop test test-versions test-upgrade test-faults test-sanitize soak fuzz streak bench

demo:
	@DATA='$(DEMO_DATA)' demo/run.sh
demo-stop:
	@demo/run.sh stop
test:
	@test/run.sh
test-versions:
	@test/versions.sh
test-upgrade:
	@test/upgrade.sh
test-faults:
	@FAULTS=1 test/run.sh test/t/040_faults.pl test/t/014_worker_pool.pl test/t/059_intake_races.pl test/t/066_monitor_races.pl
test-sanitize:
	@SANITIZE=1 test/run.sh $$(grep -l '^use Gateway;' test/t/*.pl)
soak:
	@CLINICAL_KILL_CYCLES=$${CLINICAL_KILL_CYCLES:-1000} test/run.sh test/t/050_intake_kill.pl
fuzz:
	@test/fuzz/run.sh
	@test/streak/fuzz.sh
	@test/fuzz/gateway.sh
streak:
	@test/streak/run.sh
bench:
	@bench/run
