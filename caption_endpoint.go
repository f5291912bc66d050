package supir

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"supir/photo"
)

// Endpoint asks a server that speaks OpenAI's chat completions with pictures:
// llama-server, Ollama, LM Studio, vLLM, and services on the net. The picture is
// sent there as JPEG.
type Endpoint struct {
	// URL is the server's address, such as http://localhost:11434; /v1 follows
	// where it has no path. What stands behind a ? is sent, and not shown in errors.
	URL string
	// Model is the model's name there. Default: the first that the server lists.
	Model string
	// Key authorises, where the server wants that. No error shows it.
	Key string
	// Question asks for the description. Default: that of the paper.
	Question string
	// Timeout bounds all attempts together. Default 2 minutes.
	Timeout time.Duration
	// Retries is how often an attempt that failed for a reason that may pass (no
	// connection, too many requests, an error of the server) is repeated, after
	// 1, 2, 4… seconds or what the server asks for. Default 2; negative: 0.
	Retries int
	// MaxTokens bounds the answer. Default 512.
	MaxTokens int
	// MaxSide is what the picture's long side is reduced to, in pixels. Default
	// 1024.
	MaxSide int
	// Client makes the requests. Default http.DefaultClient. Unless it has a
	// CheckRedirect of its own, pictures are not sent on to other servers.
	Client *http.Client

	pause func(ctx context.Context, d time.Duration) error // tests'
}

// An EndpointError says why an endpoint gave no caption.
type EndpointError struct {
	URL    string
	Status int   // of HTTP, 0 if there was no answer
	Err    error // what went wrong
	passes bool  // another attempt may help
	after  time.Duration
}

func (e *EndpointError) Error() string {
	if e.Status != 0 && e.Status != http.StatusOK {
		return fmt.Sprintf("%s: %d %s: %v", e.URL, e.Status, http.StatusText(e.Status), e.Err)
	}
	return fmt.Sprintf("%s: %v", e.URL, e.Err)
}

// Unwrap returns Err.
func (e *EndpointError) Unwrap() error { return e.Err }

const (
	endpointQuestion = "Describe this image and its style in a very detailed manner, in one paragraph of plain text."
	maxAnswer        = 4 << 20 // bytes of an answer that are read
	maxCaption       = 64 << 10
	maxPause         = time.Minute
)

// Caption sends the picture and returns the answer. The error is an
// *EndpointError, or ctx's.
func (c *Endpoint) Caption(ctx context.Context, cleaned image.Image) (string, error) {
	base, err := c.base()
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(c.key(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &OptionError{"Endpoint.Key", "it holds spaces or other characters that no key has"}
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 2 * time.Minute
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := c.ask(limited, base, cleaned)
	switch {
	case err == nil:
		return text, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return "", &EndpointError{URL: shown(base), Err: fmt.Errorf("no answer within %v: %w", timeout, limited.Err())}
	}
	return "", err
}

// base is the address that /chat/completions follows.
func (c *Endpoint) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &EndpointError{URL: c.URL, Err: errors.New("not an address like http://localhost:8080")}
	}
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/chat/completions")
	if path == "" {
		path = "/v1"
	}
	u.Path, u.RawPath, u.Fragment = path, "", ""
	return u, nil
}

// shown is an address as messages have it: without what may be secret.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// below is an address under base.
func below(base *url.URL, place string) *url.URL {
	u := *base
	u.Path += place
	return &u
}

// key is the key without the line's end that it may have been read with.
func (c *Endpoint) key() string { return strings.TrimSpace(c.Key) }

// hide takes the key out of a text: some servers say it again when they refuse it.
func (c *Endpoint) hide(text string) string {
	if c.key() == "" {
		return text
	}
	return strings.ReplaceAll(text, c.key(), "[key]")
}

// ask makes the requests, with repetitions.
func (c *Endpoint) ask(ctx context.Context, base *url.URL, img image.Image) (string, error) {
	model := c.Model
	if model == "" {
		err := c.retry(ctx, func() (err error) { model, err = c.firstModel(ctx, base); return err })
		if err != nil {
			return "", err
		}
	}
	body, err := c.request(model, img)
	if err != nil {
		return "", err
	}
	var text string
	attempt := func() (err error) { text, err = c.answer(ctx, base, body); return err }
	if err = c.retry(ctx, attempt); wantsNewer(err) {
		body["max_completion_tokens"] = body["max_tokens"]
		delete(body, "max_tokens")
		delete(body, "temperature")
		err = c.retry(ctx, attempt)
	}
	return text, err
}

// wantsNewer tells whether a server refuses the parameters that all others
// know: OpenAI's reasoning models have another name for the answer's bound, and
// a temperature of their own.
func wantsNewer(err error) bool {
	var e *EndpointError
	return errors.As(err, &e) && e.Status == http.StatusBadRequest &&
		(strings.Contains(e.Err.Error(), "max_completion_tokens") || strings.Contains(e.Err.Error(), "temperature"))
}

// retry repeats what fails for a reason that may pass.
func (c *Endpoint) retry(ctx context.Context, attempt func() error) error {
	retries := c.Retries
	if retries == 0 {
		retries = 2
	}
	pause := c.pause
	if pause == nil {
		pause = sleep
	}
	for i := 0; ; i++ {
		err := attempt()
		var e *EndpointError
		if err == nil || !errors.As(err, &e) || !e.passes || i >= retries {
			return err
		}
		wait := min(maxPause, max(e.after, time.Second<<i))
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return err // which says more than that there was no time for another attempt
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// object is one of JSON.
type object = map[string]any

// request is the body of a question about a picture, in the parameters that all
// servers know.
func (c *Endpoint) request(model string, img image.Image) (object, error) {
	most := c.MaxSide
	if most <= 0 {
		most = 1024
	}
	if b := img.Bounds(); max(b.Dx(), b.Dy()) > most {
		scale := float64(most) / float64(max(b.Dx(), b.Dy()))
		img = photo.Resize(photo.From(img).Image, int(float64(b.Dx())*scale), int(float64(b.Dy())*scale), photo.Bicubic)
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, img, &jpeg.Options{Quality: 92}); err != nil {
		return nil, err
	}
	question, tokens := c.Question, c.MaxTokens
	if question == "" {
		question = endpointQuestion
	}
	if tokens <= 0 {
		tokens = 512
	}
	return object{
		"model":       model,
		"max_tokens":  tokens,
		"temperature": 0.2,
		"stream":      false,
		"messages": []object{{"role": "user", "content": []object{
			{"type": "text", "text": question},
			{"type": "image_url", "image_url": object{"url": "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(data.Bytes())}},
		}}},
	}, nil
}

// answer is one attempt at a question.
func (c *Endpoint) answer(ctx context.Context, base *url.URL, body object) (string, error) {
	address := below(base, "/chat/completions")
	question, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	data, err := c.do(ctx, http.MethodPost, address, question)
	if err != nil {
		return "", err
	}
	var reply struct {
		Choices []struct {
			Message struct {
				Content json.RawMessage `json:"content"`
				Refusal string          `json:"refusal"`
			} `json:"message"`
		} `json:"choices"`
		Error json.RawMessage `json:"error"`
	}
	fail := func(format string, args ...any) (string, error) {
		return "", &EndpointError{URL: shown(address), Status: http.StatusOK, Err: fmt.Errorf(format, args...)}
	}
	var other *json.UnmarshalTypeError
	switch err := json.Unmarshal(data, &reply); {
	case errors.As(err, &other):
		return fail("the answer is not the JSON expected: %s of type %s", cmp.Or(other.Field, "something"), other.Value)
	case err != nil:
		return fail("the answer is not the JSON expected: %w", err)
	case len(reply.Choices) == 0 && reply.Error != nil:
		return fail("%s", c.complaint(data))
	case len(reply.Choices) == 0:
		return fail("the answer has no choices")
	}
	m := reply.Choices[0].Message
	text := oneLine(thoughts.ReplaceAllString(contentText(m.Content), " "))
	switch {
	case text == "" && m.Refusal != "":
		return fail("refused: %s", c.complaint([]byte(m.Refusal)))
	case text == "":
		return fail("the answer is empty")
	case len(text) > maxCaption:
		return fail("a caption of %d bytes, more than %d", len(text), maxCaption)
	}
	return text, nil
}

// thoughts are what some models write before their answer. Servers may leave out
// the mark that opens them; an answer cut short lacks the one that closes them.
var thoughts = regexp.MustCompile(`(?s)^.*</think>|<think>.*$`)

// contentText is a message's content: a text, or a list of parts.
func contentText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	for _, p := range parts {
		text += p.Text
	}
	return text
}

// firstModel is the first model that the server lists.
func (c *Endpoint) firstModel(ctx context.Context, base *url.URL) (string, error) {
	address := below(base, "/models")
	data, err := c.do(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &list); err != nil || len(list.Data) == 0 {
		return "", &EndpointError{URL: shown(address), Status: http.StatusOK, Err: errors.New("the server lists no model: name one")}
	}
	return list.Data[0].ID, nil
}

// do makes one request.
func (c *Endpoint) do(ctx context.Context, method string, address *url.URL, body []byte) ([]byte, error) {
	name := shown(address)
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, &EndpointError{URL: name, Err: err}
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key := c.key(); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	client := *cmp.Or(c.Client, http.DefaultClient)
	if client.CheckRedirect == nil {
		client.CheckRedirect = sameServer
	}
	response, err := client.Do(request)
	if err != nil {
		e := &EndpointError{URL: name, Err: err, passes: true}
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			e.Err = wrapped.Err // which repeats the address
		}
		if elsewhere := (*redirected)(nil); errors.As(err, &elsewhere) {
			e.Status, e.passes = elsewhere.status, false
		}
		return nil, e
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, &EndpointError{URL: name, Err: err, passes: true}
	case len(data) > maxAnswer:
		return nil, &EndpointError{URL: name, Status: response.StatusCode, Err: fmt.Errorf("an answer of more than %d bytes", maxAnswer)}
	case response.StatusCode != http.StatusOK:
		return nil, &EndpointError{URL: name, Status: response.StatusCode, Err: errors.New(c.complaint(data)),
			passes: response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500,
			after:  retryAfter(response.Header)}
	}
	return data, nil
}

// redirected is a redirection that is not followed.
type redirected struct {
	status int
	to     string
}

func (e *redirected) Error() string { return "the server sends elsewhere, to " + e.to }

// sameServer follows redirections that bring a request whole to the server that
// was named: pictures are for no other.
func sameServer(r *http.Request, via []*http.Request) error {
	const most = 10
	first := via[0]
	if r.URL.Hostname() == first.URL.Hostname() && (r.URL.Scheme == first.URL.Scheme || r.URL.Scheme == "https") &&
		r.Method == first.Method && len(via) < most {
		return nil
	}
	return &redirected{r.Response.StatusCode, shown(r.URL)}
}

// complaint is what a server says about a request it could not fulfil.
func (c *Endpoint) complaint(data []byte) string {
	var reply struct {
		Error json.RawMessage `json:"error"`
	}
	text := string(data)
	if json.Unmarshal(data, &reply) == nil && reply.Error != nil {
		var object struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(reply.Error, &text) != nil && json.Unmarshal(reply.Error, &object) == nil {
			text = object.Message
		}
	}
	const most = 300
	text = c.hide(oneLine(strings.ToValidUTF8(text, "?")))
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	if text == "" {
		return "no explanation"
	}
	return text
}

// retryAfter is the pause that a server asks for, in seconds.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
