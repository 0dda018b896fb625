/// fifo against a shift register that holds what it should: count, order and handshake, whatever comes.
module fifo_formal (
    input logic       clk_i,
    input logic       rst_ni,
    input logic       clear_i,
    input logic       valid_i,
    input logic [1:0] data_i,
    input logic       ready_i
);

  localparam int unsigned Depth = 3;

  logic ready, valid;
  logic [1:0] data, count;
  fifo #(
      .Width(2),
      .Depth(Depth)
  ) u_fifo (
      .clk_i,
      .rst_ni,
      .clear_i,
      .valid_i,
      .ready_o(ready),
      .data_i,
      .valid_o(valid),
      .ready_i,
      .data_o (data),
      .count_o(count)
  );

  logic [2*Depth-1:0] model_q;  // the oldest word lowest
  logic [1:0] length_q, place;
  logic push, pop, started_q;
  assign push  = valid_i && ready;
  assign pop   = valid && ready_i;
  assign place = length_q - 2'(pop);

  initial started_q = 1'b0;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni || clear_i) begin
      length_q <= '0;
    end else begin
      length_q <= place + 2'(push);
      if (pop) model_q <= model_q >> 2;
      if (push) begin
        for (int unsigned i = 0; i < Depth; i++) begin
          if (place == 2'(i)) model_q[2*i+:2] <= data_i;
        end
      end
    end
  end

  always_comb begin
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      assert (count == length_q);
      assert (valid == (length_q != '0));
      assert (ready == (length_q != 2'(Depth)));
      if (valid) assert (data == model_q[1:0]);
    end
  end

endmodule
