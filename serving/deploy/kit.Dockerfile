# The kit, for `conch deploy images`, which gives the arguments: images by their digests, and the time of Debian's packages.
#
# clients   what calls a server                        EXTRA ""
# load      Locust and the load test                   EXTRA "[load]"
# conch     all of it, the embedded server, and nginx for the guard: for development, and beside NVIDIA's server
#                                                      EXTRA "[cpu]"
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE} AS build
ARG EXTRA
# Another index of wheels, where one is named: pip reads this variable.
ARG PIP_EXTRA_INDEX_URL
COPY kit /kit
# Nothing is compiled, for what is has the time in it.
RUN python3 -m venv --without-pip /opt/conch \
 && python3 -m pip --python /opt/conch/bin/python3 install --no-cache-dir --no-compile --constraint /kit/constraints.txt \
    "$(echo /kit/*.whl)${EXTRA}"

FROM ${PYTHON_IMAGE} AS clients
COPY --from=build /opt/conch /opt/conch
ENV PATH=/opt/conch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
# Volumes of Docker take their owner from these.
RUN install -d -o 1000 -g 1000 /pulled /results
WORKDIR /tmp
USER 1000:1000
ENTRYPOINT ["conch"]

FROM clients AS load
ENTRYPOINT ["locust"]

FROM clients AS conch
# Where the snapshots of Debian's packages lie; without, the image's own sources stay, as of today.
ARG DEBIAN_MIRROR
ARG DEBIAN_TIME
USER 0:0
# The time pins the versions of all packages, those of nginx's dependencies, too.
# hadolint ignore=DL3008
RUN if [ -n "${DEBIAN_MIRROR}" ]; then find /etc/apt -regex '.*[.]\(sources\|list\)' -exec \
    sed -i -E "s|https?://[^/ ]+/(debian[a-z-]*)|${DEBIAN_MIRROR}/\1${DEBIAN_TIME}|" {} + ; fi \
 && apt-get -o Acquire::Check-Valid-Until=false update \
 && apt-get install --yes --no-install-recommends nginx \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/*.log /var/cache/ldconfig/aux-cache /var/cache/debconf
USER 1000:1000
