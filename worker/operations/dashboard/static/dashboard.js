/* What moves by itself: parts of a page that are loaded again, ticking all rows, copying, and an estimate while one types.
   Without it everything can still be done; a page then moves when it is loaded again. */

(function () {
    "use strict";

    var status = document.querySelector("[data-live-status]");
    var dot = document.querySelector("[data-live-dot]");

    function say(words, alive) {
        if (status) {
            status.textContent = words;
        }
        if (dot) {
            dot.classList.toggle("status-dot-live", alive);
            dot.classList.toggle("status-dot-error", !alive);
        }
    }

    // What differs from load to load, and means nothing.
    function content(region) {
        return region.innerHTML.replace(/(name="_xsrf" value=")[^"]*/g, "$1").replace(/ tabindex="-?[01]"/g, "");
    }

    function isInUse(region) {
        var fields = Array.prototype.slice.call(region.querySelectorAll("input:not([type=hidden])"));
        return region.contains(document.activeElement) || fields.some(function (field) {
            return field.value !== field.defaultValue;
        });
    }

    // The parts that are loaded again after the same time, which the header names: the server may leave out the others.
    function keepFresh(seconds, regions) {
        var failures = 0;

        function again() {
            window.setTimeout(refresh, seconds * 1000 * Math.min(Math.pow(2, failures), 16));
        }

        function replace(fresh) {
            regions.forEach(function (region) {
                var other = fresh.getElementById(region.id);
                // A part with the focus, or with a half-typed field, is left alone.
                if (other && !isInUse(region) && content(region) !== content(other)) {
                    region.replaceChildren.apply(region, Array.prototype.slice.call(other.childNodes));
                }
            });
            prepareCharts();
            if (regions.every(function (region) {
                var other = fresh.getElementById(region.id);
                return other && !other.hasAttribute("data-live");
            })) {
                regions = [];
            }
        }

        function refresh() {
            if (document.hidden) {
                again();
                return;
            }
            window.fetch(window.location.href, {
                cache: "no-store", credentials: "same-origin", headers: {"X-Feedback-Live": seconds}
            }).then(function (answer) {
                return answer.text().then(function (text) {
                    var fresh = new DOMParser().parseFromString(text, "text/html");
                    if (!fresh.getElementById(regions[0].id)) {
                        throw new Error(String(answer.status));
                    }
                    failures = 0;
                    replace(fresh);
                    say("as of " + new Date().toISOString().slice(11, 19) + " UTC", answer.ok);
                });
            }).catch(function () {
                failures += 1;
                say("not reachable; what stands here is old", false);
            }).then(function () {
                if (regions.length) {
                    again();
                } else {
                    say("no longer moves", true);
                    if (dot) {
                        dot.classList.remove("status-dot-live");
                    }
                }
            });
        }

        again();
    }

    var bySeconds = {};
    document.querySelectorAll("[data-live]").forEach(function (region) {
        var seconds = region.getAttribute("data-live");
        bySeconds[seconds] = (bySeconds[seconds] || []).concat(region);
    });
    Object.keys(bySeconds).forEach(function (seconds) {
        keepFresh(seconds, bySeconds[seconds]);
    });

    // A chart is one stop of the Tab key; within it the arrow keys go from bar to bar.
    function oneStop(links, stop) {
        links.forEach(function (link) { link.setAttribute("tabindex", link === stop ? "0" : "-1"); });
    }

    function linksOf(chart) {
        return Array.prototype.slice.call(chart.querySelectorAll("a"));
    }

    function prepareCharts() {
        document.querySelectorAll("[data-chart]").forEach(function (chart) {
            var links = linksOf(chart);
            oneStop(links, links[links.length - 1]);
        });
    }

    document.addEventListener("keydown", function (event) {
        var chart = event.target.closest && event.target.closest("[data-chart]");
        var steps = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity};
        if (!chart || !(event.key in steps)) {
            return;
        }
        var links = linksOf(chart);
        var at = links.indexOf(event.target.closest("a")) + steps[event.key];
        var next = links[Math.max(0, Math.min(links.length - 1, at))];
        oneStop(links, next);
        next.focus();
        event.preventDefault();
    });
    prepareCharts();

    document.querySelectorAll("[data-selection]").forEach(function (form) {
        var all = form.querySelector("[data-select-all]");
        var boxes = Array.prototype.slice.call(form.querySelectorAll("input[name=id]"));
        var words = form.querySelector("[data-selected]");

        function count() {
            var ticked = boxes.filter(function (box) { return box.checked; }).length;
            form.querySelectorAll("[data-needs-selection]").forEach(function (button) {
                button.disabled = !ticked;
            });
            if (words) {
                words.textContent = ticked ? ticked + " selected" : "";
            }
            if (all) {
                all.checked = ticked > 0 && ticked === boxes.length;
                all.indeterminate = ticked > 0 && ticked < boxes.length;
            }
        }

        if (all) {
            all.hidden = false;
            all.addEventListener("change", function () {
                boxes.forEach(function (box) { box.checked = all.checked; });
                count();
            });
        }
        form.addEventListener("change", count);
        window.addEventListener("pageshow", count);
        count();
    });

    function span(seconds) {
        var units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
        for (var i = 0; i < units.length; i += 1) {
            if (seconds >= units[i][0]) {
                var rest = Math.floor(seconds % units[i][0] / units[i][2]);
                return Math.floor(seconds / units[i][0]) + " " + units[i][1] + (rest ? " " + rest + " " + units[i][3] : "");
            }
        }
        return Math.ceil(seconds) + " s";
    }

    document.querySelectorAll("[data-estimate]").forEach(function (output) {
        var rate = document.getElementById(output.getAttribute("data-estimate"));
        var rows = Number(output.getAttribute("data-rows"));
        rate.addEventListener("input", function () {
            var perSecond = Number(rate.value);
            output.textContent = perSecond > 0 ? "about " + span(rows / perSecond) : "as fast as it goes";
        });
    });

    // What can be copied: a browser gives the clipboard to pages of this machine and of https alone.
    function copy(text) {
        if (navigator.clipboard) {
            return navigator.clipboard.writeText(text);
        }
        var field = document.createElement("textarea");
        field.value = text;
        field.className = "visually-hidden";
        document.body.appendChild(field);
        field.select();
        var copied = document.execCommand("copy");
        field.remove();
        return copied ? Promise.resolve() : Promise.reject(new Error("refused"));
    }

    document.querySelectorAll("[data-copy]").forEach(function (button) {
        var label = button.textContent;
        button.hidden = false;
        button.addEventListener("click", function () {
            copy(button.getAttribute("data-copy")).then(function () {
                button.textContent = "Copied";
            }, function () {
                button.textContent = "Not copied";
            }).then(function () {
                button.focus();
                window.setTimeout(function () { button.textContent = label; }, 2000);
            });
        });
    });

    // One press is one action, however often the button is hit.
    document.addEventListener("submit", function (event) {
        var form = event.target;
        if (form.method !== "post") {
            return;
        }
        if (form.hasAttribute("data-sent")) {
            event.preventDefault();
        }
        form.setAttribute("data-sent", "");
    });
    window.addEventListener("pageshow", function () {
        document.querySelectorAll("form[data-sent]").forEach(function (form) { form.removeAttribute("data-sent"); });
    });
}());
